"""The object store in an S3 bucket, by boto3 in threads; objects are read in chunks."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeVar, cast
from uuid import uuid4

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import where as default_cas
from botocore.response import StreamingBody
from s3transfer.utils import ReadFileChunk
from urllib3.exceptions import HTTPError

from shuttle.errors import ObjectNotFoundError, ObjectStoreError, SettingsError
from shuttle.objects import FilePart, ObjectInfo, OpenObject, check_name
from shuttle.objects.s3_errors import code_of, describe_s3_error, is_below_object, is_missing
from shuttle.objects.s3_location import S3Location
from shuttle.objects.stoppable_file import StoppableFile
from shuttle.outgoing.tls import TrustedBundle

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_T = TypeVar("_T")

_THREADS = 16
_CHUNK_BYTES = 256 * 1024
# The uploading thread sends the parts of 8 MiB one after another, so memory does not depend on the object's size.
_UPLOAD = TransferConfig(use_threads=False)
# Attempts within a call; callers retry later for as long as necessary.
_MAX_ATTEMPTS = 3


class S3Store:
    """Implements ObjectStore in one bucket.

    An open object holds a connection, but a thread only while it is read. The parts of an upload that was interrupted
    by a kill have to be removed by the bucket's lifecycle rule (AbortIncompleteMultipartUpload).
    """

    def __init__(
        self,
        *,
        bucket: str,
        access_key: str,
        secret_key: str,
        location: str = "",
        ca_file: Path | None = None,
        cas_file: Path | None = None,
        connect_seconds: float = 5,
        read_seconds: float = 30,
    ) -> None:
        """`location` is S3_LOCATION in any of its forms. Raises SettingsError if it is invalid.

        `cas_file`: where the CAs of `ca_file` and the default ones are written; None = in a temporary file.
        """
        at = S3Location.parse(location, bucket)
        self._bucket = bucket
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="s3")
        self._trusted = TrustedBundle(ca_file, Path(default_cas()), cas_file) if ca_file is not None else None
        # Servers other than Amazon's may not support the checksums that boto3 sends and expects by default.
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
                    retries={"total_max_attempts": _MAX_ATTEMPTS, "mode": "standard"},
                    max_pool_connections=2 * _THREADS,
                    proxies={},  # as all outgoing connections, it ignores HTTP_PROXY and HTTPS_PROXY
                ),
            )
        except ValueError as error:
            raise SettingsError("S3_LOCATION: write a region, http(s)://host[:port], or <bucket>.<host>.") from error

    async def put(self, name: str, path: Path, *, content_type: str, sha256: str = "") -> None:
        """See ObjectStore."""
        check_name(name)
        path.stat()  # raises FileNotFoundError, which is not an error of the store
        await self._put_in_thread(name, lambda: path.open("rb"), content_type, sha256)

    async def put_part(self, name: str, path: Path, part: FilePart, *, content_type: str, sha256: str = "") -> None:
        """See ObjectStore. `head` returns the `sha256`, if there is one."""
        check_name(name)
        path.stat()

        def source() -> BinaryIO:
            return cast("BinaryIO", ReadFileChunk.from_filename(str(path), part.start, part.size_bytes))

        await self._put_in_thread(name, source, content_type, sha256)

    @asynccontextmanager
    async def open(self, name: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[OpenObject]:
        """See ObjectStore."""
        check_name(name)
        opening = self._threads.submit(self._open, name, start, length)
        with _translate_errors("read"):
            try:
                info, body = await asyncio.wrap_future(opening)
            except asyncio.CancelledError:
                opening.add_done_callback(_close_unused)
                raise
        try:
            yield OpenObject(info.size_bytes, info.content_type, self._chunks(body))
        finally:
            if body is not None:
                self._threads.submit(body.close)  # in a thread, because it waits for a read that still runs

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

    async def _in_thread(self, action: str, work: Callable[[], _T]) -> _T:
        with _translate_errors(action):
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _chunks(self, body: StreamingBody | None) -> AsyncIterator[bytes]:
        while body is not None and (chunk := await self._in_thread("read", lambda: body.read(_CHUNK_BYTES))):
            yield chunk

    async def _put_in_thread(self, name: str, source: Callable[[], BinaryIO], content_type: str, sha256: str) -> None:
        """Upload; a cancelled upload ends at its next read, also if it would be tried again."""
        stopped = threading.Event()

        def stoppable() -> BinaryIO:
            return cast("BinaryIO", StoppableFile(source(), stopped))

        try:
            await self._in_thread("written", lambda: self._put(name, stoppable, content_type, sha256))
        except asyncio.CancelledError:
            stopped.set()
            raise

    def _put(self, name: str, source: Callable[[], BinaryIO], content_type: str, sha256: str) -> None:
        try:
            self._upload(name, source(), content_type, sha256)
        except ClientError as error:
            if not is_below_object(error):
                raise
            self._upload(_alternative_key(name), source(), content_type, sha256)

    def _upload(self, key: str, source: BinaryIO, content_type: str, sha256: str = "") -> None:
        extra = {"ContentType": content_type, "Metadata": {"sha256": sha256} if sha256 else {}}
        with source:
            self._client.upload_fileobj(source, self._bucket, key, ExtraArgs=extra, Config=_UPLOAD)

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
        """The whole object's facts, and the range; None = the range is empty, which S3 cannot return."""
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
            # The response to a HEAD has no body, so a missing bucket looks like a missing object.
            self._client.head_bucket(Bucket=self._bucket)
            return None
        return ObjectInfo(answer["ContentLength"], answer["ContentType"], answer.get("Metadata", {}).get("sha256"))


def _alternative_key(name: str) -> str:
    """The key for `a/b` if the object `a` exists, on servers that keep objects as files in folders."""
    return name.replace("/", "+/")  # no segment of a name contains a plus sign


def _keys(name: str) -> tuple[str, ...]:
    """The keys that an object of that name may have."""
    return (name, _alternative_key(name)) if "/" in name else (name,)


def _close_unused(opening: "Future[tuple[ObjectInfo, StreamingBody | None]]") -> None:
    """Release the connection of an object that was opened for a cancelled caller."""
    if not opening.cancelled() and opening.exception() is None:
        body = opening.result()[1]
        if body is not None:
            body.close()


@contextmanager
def _translate_errors(action: str) -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError, HTTPError, OSError) as error:
        raise ObjectStoreError(describe_s3_error(error, action)) from None
