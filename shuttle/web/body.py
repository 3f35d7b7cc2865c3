"""The body of a request: read within its limit, as JSON in whatever charset it is."""

from aiohttp import web

from shuttle.errors import BodyTooLargeError, UnsupportedMediaTypeError
from shuttle.web import PORTS


async def read_body(request: web.Request, limit_bytes: int) -> bytes:
    """The body, counted while it is read; raises BodyTooLargeError (413)."""
    too_large = BodyTooLargeError(f"Send at most {limit_bytes} bytes (SHUTTLE_MAX_BODY_BYTES).")
    if request.content_length is not None and request.content_length > limit_bytes:
        raise too_large
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > limit_bytes:
            raise too_large
    return bytes(body)


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
