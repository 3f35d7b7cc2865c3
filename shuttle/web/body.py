"""The body of a request: read and unpacked within its limit, as JSON in whatever charset it is."""

import asyncio
import zlib
from collections.abc import AsyncIterator

from aiohttp import web

from shuttle.errors import BodyTooLargeError, InvalidRequestError, UnsupportedMediaTypeError
from shuttle.web import PORTS

# How much is unpacked at once, so that other requests of the event loop get their turn.
_UNPACKED_AT_ONCE_BYTES = 256 * 1024
# Of a gzip. Each costs 40 KB for a moment, and may hold nothing.
_MOST_MEMBERS = 1000
# zlib reads the header of both gzip (RFC 1952) and deflate (RFC 9110: with zlib's header) itself.
_EITHER_HEADER = 32 + zlib.MAX_WBITS


async def read_body(request: web.Request, limit_bytes: int) -> bytes:
    """The body, unpacked and counted while it is read.

    Raises:
        BodyTooLargeError: 413. UnsupportedMediaTypeError: 415, neither gzip nor deflate. InvalidRequestError: 400, it
            is not packed as it says.
    """
    too_large = BodyTooLargeError(f"Send at most {limit_bytes} bytes (SHUTTLE_MAX_BODY_BYTES).")
    if request.content_length is not None and request.content_length > limit_bytes:
        raise too_large
    return await _gathered(
        _unpacked(_encoding(request), _received(request, limit_bytes, too_large)), limit_bytes, too_large
    )


async def _gathered(chunks: AsyncIterator[bytes], limit_bytes: int, too_large: BodyTooLargeError) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > limit_bytes:
            raise too_large
    return bytes(body)


async def _received(request: web.Request, limit_bytes: int, too_large: BodyTooLargeError) -> AsyncIterator[bytes]:
    """What arrives, counted: packed bytes may unpack to nothing for ever."""
    received_bytes = 0
    async for chunk in request.content.iter_any():
        received_bytes += len(chunk)
        if received_bytes > limit_bytes:
            raise too_large
        yield chunk


def refuse_encoded(request: web.Request) -> None:
    """Raises UnsupportedMediaTypeError (415) for a body whose bytes are taken as they are but that is packed."""
    if _encoding(request):
        raise UnsupportedMediaTypeError("Send these bytes as they are, without a Content-Encoding.")


def _encoding(request: web.Request) -> str:
    """Empty = none."""
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
            if members > _MOST_MEMBERS:
                raise badly_packed
            await asyncio.sleep(0)
    if not unpacking.eof:
        raise badly_packed


async def read_json_body(request: web.Request) -> bytes:
    """The body of a request for a build, in UTF-8.

    Raises:
        BodyTooLargeError: 413. UnsupportedMediaTypeError: 415, no JSON by its Content-Type; none means JSON.
    """
    body = await read_body(request, request.app[PORTS].settings.shuttle_max_body_bytes)
    content_type = request.headers.get("Content-Type")
    if content_type is None:
        return body
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise UnsupportedMediaTypeError("Send the body as application/json.")
    return _in_utf8(body, request.charset)


def _in_utf8(body: bytes, charset: str | None) -> bytes:
    """JSON is UTF-8 whatever a charset says (RFC 8259, 11); only where it cannot be, the charset is believed."""
    if charset is None or body.isascii():
        return body
    try:
        body.decode()
    except UnicodeDecodeError:
        try:
            return body.decode(charset).encode()
        except (LookupError, UnicodeError):
            raise UnsupportedMediaTypeError("Send the body in UTF-8.") from None
    return body
