"""The body of a request: received within limits of size and time, decompressed, and converted to UTF-8."""

import asyncio
import mmap
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from shuttle.errors import (
    BodyTimeoutError,
    BodyTooLargeError,
    CannotRecordError,
    InvalidRequestError,
    LocalDiskError,
    UnsupportedMediaTypeError,
)
from shuttle.web import BODY_ROOM, SERVICES
from shuttle.web.body_charset import in_utf8
from shuttle.web.body_room import BodyBuffer

# How much is decompressed at once, so that other requests of the event loop are not delayed.
_UNPACKED_AT_ONCE_BYTES = 256 * 1024
# Members of one gzip body. Each needs 40 KB for a moment, and may be empty.
_MAX_MEMBERS = 1000
# zlib reads the header of both gzip (RFC 1952) and deflate (RFC 9110: with zlib's header) itself.
_EITHER_HEADER = 32 + zlib.MAX_WBITS
# For comparison: an agent with a poor network sends 10 KB a second.
SLOWEST_BYTES_PER_SECOND = 1024


async def chunks_of(request: web.Request) -> AsyncIterator[bytes]:
    """The chunks of the body as they arrive. Only the time spent waiting counts; each KiB allows another second.

    Raises:
        BodyTimeoutError: 408, the body arrives too slowly.
    """
    most_seconds = left_seconds = request.app[SERVICES].settings.shuttle_body_stall_seconds
    clock = asyncio.get_running_loop().time
    while True:
        began_at = clock()
        try:
            async with asyncio.timeout(left_seconds):
                chunk = await request.content.readany()
        except TimeoutError:
            raise BodyTimeoutError(
                f"Send the body with at least {SLOWEST_BYTES_PER_SECOND} bytes a second, without pauses of"
                f" {most_seconds:g} seconds."
            ) from None
        if not chunk:
            return
        left_seconds += began_at - clock() + len(chunk) / SLOWEST_BYTES_PER_SECOND
        left_seconds = min(most_seconds, left_seconds)
        yield chunk


async def read_body(request: web.Request, limit_bytes: int) -> bytes:
    """A short body, decompressed; its size is checked while it is read.

    Raises:
        BodyTooLargeError: 413. UnsupportedMediaTypeError: 415, neither gzip nor deflate. InvalidRequestError: 400, it
            is not encoded as its header says. BodyTimeoutError: 408. BusyError, CannotRecordError: 503.
    """
    async with body_in_place(request, limit_bytes) as body:
        return body if isinstance(body, bytes) else body[:]


@asynccontextmanager
async def body_in_place(request: web.Request, limit_bytes: int) -> AsyncIterator[bytes | mmap.mmap]:
    """Like `read_body`, without a copy, which would not count for SHUTTLE_BODY_MEMORY_BYTES."""
    too_large = BodyTooLargeError(f"Send at most {limit_bytes} bytes.")
    arrived = _arrived(request, limit_bytes, too_large)
    if arrived is not None:
        yield arrived
        return
    async with _received(request, limit_bytes, too_large) as buffer, buffer.reading() as body:
        yield body


def _arrived(request: web.Request, limit_bytes: int, too_large: BodyTooLargeError) -> bytes | None:
    """A body that came with the head, as most do: aiohttp holds it, so nothing has to be awaited. Else None."""
    if not request.content.is_eof() or _encoding(request):
        return None
    arrived: bytes = request.content.read_nowait()
    if len(arrived) > limit_bytes:
        raise too_large
    return arrived


@asynccontextmanager
async def _received(request: web.Request, limit_bytes: int, too_large: BodyTooLargeError) -> AsyncIterator[BodyBuffer]:
    if request.content_length is not None and request.content_length > limit_bytes:
        raise too_large
    buffer = BodyBuffer(request.app[BODY_ROOM])
    try:
        async for chunk in _unpacked(_encoding(request), _counted(request, limit_bytes, too_large)):
            if buffer.size_bytes + len(chunk) > limit_bytes:
                raise too_large
            await buffer.add(chunk)
        yield buffer
    except LocalDiskError as error:
        raise CannotRecordError(f"The request was not recorded: {error.message}") from error
    finally:
        buffer.close()


async def _counted(request: web.Request, limit_bytes: int, too_large: BodyTooLargeError) -> AsyncIterator[bytes]:
    """The chunks, with a limit on the compressed size: an endless compressed body may decompress to nothing."""
    received_bytes = 0
    async for chunk in chunks_of(request):
        received_bytes += len(chunk)
        if received_bytes > limit_bytes:
            raise too_large
        yield chunk


def refuse_encoded(request: web.Request) -> None:
    """Raises UnsupportedMediaTypeError (415) if a body that is stored unchanged has a Content-Encoding."""
    if _encoding(request):
        raise UnsupportedMediaTypeError("Send these bytes as they are, without a Content-Encoding.")


def _encoding(request: web.Request) -> str:
    """The Content-Encoding in lower case; empty if there is none."""
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    return "" if encoding == "identity" else encoding


async def _unpacked(encoding: str, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if encoding not in {"", "gzip", "x-gzip", "deflate"}:
        raise UnsupportedMediaTypeError("Send the body as it is, or with Content-Encoding: gzip.")
    if not encoding:
        async for chunk in chunks:
            yield chunk
        return
    badly_packed = InvalidRequestError("Send a body that is packed as its Content-Encoding says.")
    unpacking, members = zlib.decompressobj(_EITHER_HEADER), 1
    async for chunk in chunks:
        rest = chunk
        while rest:
            try:
                yield unpacking.decompress(rest, _UNPACKED_AT_ONCE_BYTES)
            except zlib.error:
                raise badly_packed from None
            rest = unpacking.unconsumed_tail
            if unpacking.unused_data:
                rest, unpacking, members = unpacking.unused_data, zlib.decompressobj(_EITHER_HEADER), members + 1
            if members > _MAX_MEMBERS:
                raise InvalidRequestError(f"Send a gzip of at most {_MAX_MEMBERS} members.")
            await asyncio.sleep(0)
    if not unpacking.eof:
        raise badly_packed


@asynccontextmanager
async def json_body(request: web.Request) -> AsyncIterator[bytes | mmap.mmap]:
    """The body of a build request in UTF-8. A large one is a mapped file that is closed when the context ends.

    Raises:
        UnsupportedMediaTypeError: 415, the Content-Type is not JSON; a missing one means JSON. Others: see `read_body`.
    """
    limit_bytes = request.app[SERVICES].settings.shuttle_max_body_bytes
    too_large = BodyTooLargeError(f"Send at most {limit_bytes} bytes (SHUTTLE_MAX_BODY_BYTES).")
    arrived = _arrived(request, limit_bytes, too_large)
    if arrived is not None:
        check_content_type(request)
        yield await in_utf8(arrived, request.charset)
        return
    async with _received(request, limit_bytes, too_large) as buffer:
        check_content_type(request)
        async with buffer.reading() as body:
            yield await in_utf8(body, request.charset)


def check_content_type(request: web.Request) -> None:
    """Raises UnsupportedMediaTypeError (415) unless the body is JSON; a missing Content-Type means JSON."""
    content_type = request.headers.get("Content-Type")
    if content_type is None:
        return
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise UnsupportedMediaTypeError("Send the body as application/json.")
