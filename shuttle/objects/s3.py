"""Objects in an S3 bucket, Amazon's or another's: boto3 in threads of its own, read in bounded pieces."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeVar
from uuid import uuid4

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import where as usual_cas
from botocore.response import StreamingBody
from urllib3.exceptions import HTTPError

from shuttle.errors import ObjectNotFoundError, ObjectStoreError, SettingsError
from shuttle.objects import ObjectInfo, OpenObject, check_name
from shuttle.objects.s3_errors import code_of, is_below_object, is_missing, sentence
from shuttle.objects.s3_location import S3Location
from shuttle.outgoing.tls import TrustedBundle

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_T = TypeVar("_T")

_THREADS = 16
_CHUNK_BYTES = 256 * 1024
# Parts go one after another in the thread that uploads: 8 MiB at a time, whatever the object's size.
_UPLOAD = TransferConfig(use_threads=False)
# Three tries inside a call; the caller comes again later for as long as it takes.
_TRIES = 3


class S3Store:
    """Implements ObjectStore in one bucket.

    An open object holds a connection but no thread while nobody reads it. Uploads that a killed process left in parts
    are the bucket's to remove (a lifecycle rule, AbortIncompleteMultipartUpload).
    """

    def __init__(
        self,
        *,
        bucket: str,
        access_key: str,
        secret_key: str,
        location: str = "",
        ca_file: Path | None = None,
        connect_seconds: float = 5,
        read_seconds: float = 30,
    ) -> None:
        """`location` is S3_LOCATION in each of its forms. Raises SettingsError where it is none of them."""
        at = S3Location.parse(location, bucket)
        self._bucket = bucket
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="s3")
        self._trusted = TrustedBundle(ca_file, Path(usual_cas())) if ca_file is not None else None
        # Other servers than Amazon's know neither the checksums that boto3 adds by default nor answer with them.
        checksums: Literal["when_supported", "when_required"] = (
            "when_supported" if at.endpoint is None else "when_required"
        )
        try:
            self._client: S3Client = boto3.client(
                "s3",
                region_name=at.region,
                endpoint_url=at.endpoint,
                aws_access_key_id=access_key,
                aws_secret_access_key=secret_key,
                verify=self._trusted.path if self._trusted is not None else None,
                config=Config(
                    s3={"addressing_style": at.addressing},
                    signature_version="s3v4",
                    request_checksum_calculation=checksums,
                    response_checksum_validation=checksums,
                    connect_timeout=connect_seconds,
                    read_timeout=read_seconds,
                    retries={"total_max_attempts": _TRIES, "mode": "standard"},
                    max_pool_connections=2 * _THREADS,
                ),
            )
        except ValueError as error:
            raise SettingsError("S3_LOCATION: write a region, http(s)://host[:port], or <bucket>.<host>.") from error

    async def put(self, name: str, path: Path, *, content_type: str) -> None:
        """See ObjectStore."""
        check_name(name)
        path.stat()  # a missing file is the caller's trouble
        await self._in_thread("written", lambda: self._put(name, path, content_type))

    @asynccontextmanager
    async def open(self, name: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[OpenObject]:
        """See ObjectStore."""
        check_name(name)
        opening = self._threads.submit(self._open, name, start, length)
        with _named_troubles("read"):
            try:
                info, body = await asyncio.wrap_future(opening)
            except asyncio.CancelledError:
                opening.add_done_callback(_close_unwanted)
                raise
        try:
            yield OpenObject(info.size_bytes, info.content_type, self._chunks(body))
        finally:
            if body is not None:
                self._threads.submit(body.close)  # it waits for a read that may still be under way

    async def head(self, name: str) -> ObjectInfo | None:
        """See ObjectStore."""
        check_name(name)
        return await self._in_thread("read", lambda: self._head(name))

    async def delete(self, name: str) -> None:
        """See ObjectStore."""
        check_name(name)
        await self._in_thread("written", lambda: self._delete(name))

    async def check(self) -> None:
        """See ObjectStore."""
        name = f"check~{uuid4().hex}"
        await self._in_thread("written", lambda: self._upload(name, BytesIO(b"can be written"), "text/plain"))
        try:
            async with self.open(name) as opened:
                async for _ in opened.chunks:
                    pass
        finally:
            await self.delete(name)

    async def close(self) -> None:
        """See ObjectStore."""
        self._threads.shutdown(wait=False)
        self._client.close()
        if self._trusted is not None:
            self._trusted.close()

    async def _in_thread(self, done: str, work: Callable[[], _T]) -> _T:
        with _named_troubles(done):
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _chunks(self, body: StreamingBody | None) -> AsyncIterator[bytes]:
        while body is not None and (chunk := await self._in_thread("read", lambda: body.read(_CHUNK_BYTES))):
            yield chunk

    def _put(self, name: str, path: Path, content_type: str) -> None:
        try:
            self._upload(name, path.open("rb"), content_type)
        except ClientError as error:
            if not is_below_object(error):
                raise
            self._upload(_beside(name), path.open("rb"), content_type)

    def _upload(self, key: str, source: BinaryIO, content_type: str) -> None:
        kind = {"ContentType": content_type}
        with source:
            self._client.upload_fileobj(source, self._bucket, key, ExtraArgs=kind, Config=_UPLOAD)

    def _delete(self, name: str) -> None:
        for key in _keys(name):
            try:
                self._client.delete_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if not is_missing(error):
                    raise

    def _open(self, name: str, start: int, length: int | None) -> tuple[ObjectInfo, StreamingBody | None]:
        for key in _keys(name):
            with suppress(ObjectNotFoundError):
                return self._open_key(key, start, length)
        raise ObjectNotFoundError("There is no such object.")

    def _open_key(self, name: str, start: int, length: int | None) -> tuple[ObjectInfo, StreamingBody | None]:
        """The whole object's facts, and the range; None = there are no bytes in it, which S3 cannot say."""
        whole = start == 0 and length is None
        last = "" if length is None else start + length - 1
        try:
            if length == 0:
                return self._existing(name), None
            if whole:
                answer = self._client.get_object(Bucket=self._bucket, Key=name)
                return ObjectInfo(answer["ContentLength"], answer["ContentType"]), answer["Body"]
            answer = self._client.get_object(Bucket=self._bucket, Key=name, Range=f"bytes={start}-{last}")
            size_bytes = int(answer["ContentRange"].rpartition("/")[2])
            return ObjectInfo(size_bytes, answer["ContentType"]), answer["Body"]
        except ClientError as error:
            if code_of(error) in {"InvalidRange", "416"}:
                return self._existing(name), None
            if is_missing(error):
                raise ObjectNotFoundError("There is no such object.") from None
            raise

    def _existing(self, name: str) -> ObjectInfo:
        info = self._head_key(name)
        if info is None:
            raise ObjectNotFoundError("There is no such object.")
        return info

    def _head(self, name: str) -> ObjectInfo | None:
        infos = (self._head_key(key) for key in _keys(name))
        return next((info for info in infos if info is not None), None)

    def _head_key(self, name: str) -> ObjectInfo | None:
        try:
            answer = self._client.head_object(Bucket=self._bucket, Key=name)
        except ClientError as error:
            if not is_missing(error):
                raise
            # A HEAD has no body to tell a missing bucket from a missing object.
            self._client.head_bucket(Bucket=self._bucket)
            return None
        return ObjectInfo(answer["ContentLength"], answer["ContentType"])


def _beside(name: str) -> str:
    """The key of an object whose name begins with another's, on servers that keep objects as files of folders."""
    return name.replace("/", "+/")  # no segment of a name has a plus sign


def _keys(name: str) -> tuple[str, ...]:
    """Where an object can be."""
    return (name, _beside(name)) if "/" in name else (name,)


def _close_unwanted(opening: "Future[tuple[ObjectInfo, StreamingBody | None]]") -> None:
    """The caller was cancelled while a thread was getting the answer: give its connection back."""
    if not opening.cancelled() and opening.exception() is None:
        body = opening.result()[1]
        if body is not None:
            body.close()


@contextmanager
def _named_troubles(done: str) -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError, HTTPError, OSError) as error:
        raise ObjectStoreError(sentence(error, done)) from None
