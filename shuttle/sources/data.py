"""Decodes data: URLs, which contain the source itself, in the form of RFC 2397 or of the older API's clients."""

import binascii
import re
from collections.abc import Iterator

from shuttle.errors import InvalidRequestError

_FIELD = "source.url"
_NAME = r"[A-Za-z0-9!#$&^_.+\-]+"
_VALUE = r'(?:(?:[A-Za-z0-9!#$&^_.+\-\'*`{|}~]|%[0-9A-Fa-f]{2})*|"[ !#-~]*")'
_MEDIA_TYPE = re.compile(rf"(?:{_NAME}/{_NAME})?(?:;{_NAME}={_VALUE})*")
_BASE64 = re.compile(r"(?:\A|;)base64\Z", re.IGNORECASE)
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# Any byte that RFC 3986 does not allow in a URL, and `#`, which would begin a fragment.
_NOT_IN_URL = re.compile(rb"[^!$%&'()*+,\-./0-9:;=?@A-Z_a-z~\[\]]")
_DEFAULT_TYPE = "text/plain;charset=US-ASCII"
_MAX_TYPE = 255
# No other thread runs while a piece is decoded: 5 ms for a piece of this size.
_PIECE_BYTES = 1024 * 1024


def read_data_url(url: str, max_source_bytes: int) -> tuple[str, Iterator[bytes]]:
    """Return the media type and the decoded bytes, in pieces, of `data:[type][;base64],…`.

    The older API's clients write `data:base64,…`, which is accepted, too. Base64 uses the standard alphabet, with or
    without padding, and may contain line breaks (CR, LF); percent-escapes are decoded first. The type is returned as
    written, or RFC 2397's default if there is none. 64 MiB take 0.3 s: read the pieces in a thread. Other threads can
    run between the pieces, every few milliseconds.

    Raises:
        InvalidRequestError: the URL is invalid. The error names the field `source.url`, and its message never repeats
            the URL. It may also be raised while the pieces are read.
    """
    comma = url.find(",")
    if url[:5].lower() != "data:" or comma < 0:
        raise _wrong("Write the source as data:[type][;base64],… with a comma before the data.")
    if not url.isascii():
        raise _wrong("Percent-encode all non-ASCII characters of the data: URL, or use ;base64.")
    media_type, is_base64 = _read_head(url[5:comma])
    return media_type, _limited(
        _from_base64(url, comma + 1) if is_base64 else _from_escapes(url, comma + 1), max_source_bytes
    )


def _limited(pieces: Iterator[bytes], max_source_bytes: int) -> Iterator[bytes]:
    size_bytes = 0
    for piece in pieces:
        size_bytes += len(piece)
        if size_bytes > max_source_bytes:
            raise _too_large(max_source_bytes)
        yield piece
    if size_bytes == 0:
        raise _wrong("The data: URL holds no bytes; put an archive into it.")


def _read_head(head: str) -> tuple[str, bool]:
    media_type = _BASE64.sub("", head)
    if len(media_type) > _MAX_TYPE or not _MEDIA_TYPE.fullmatch(media_type):
        raise _wrong("Write the media type of the data: URL as type/subtype;name=value, before ;base64.")
    is_base64 = media_type != head
    if media_type.startswith(";"):
        return f"text/plain{media_type}", is_base64
    return media_type or _DEFAULT_TYPE, is_base64


def _from_base64(url: str, start: int) -> Iterator[bytes]:
    left = b""
    for piece in _unescaped(url, start):
        text = left + piece.translate(None, b"\r\n")
        end = text.find(b"=")
        if not text.isascii() or 0 <= end < len(text) - 2:
            raise _not_base64()
        whole = (len(text) if end < 0 else end) // 4 * 4
        yield _quads(text[:whole])
        left = text[whole:]
    if left:
        yield _quads(left + b"=" * (0 if left.endswith(b"=") else -len(left) % 4))


def _quads(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise _not_base64() from None


def _unescaped(url: str, start: int) -> Iterator[bytes]:
    """The base64 text, with its percent-escapes decoded. Line breaks may be escaped or not."""
    if "%" not in url:
        yield from _pieces(url, start)
        return
    for piece in _pieces(url, start):
        yield _decoded(piece.translate(None, b"\r\n"))


def _from_escapes(url: str, start: int) -> Iterator[bytes]:
    for piece in _pieces(url, start):
        yield _decoded(piece)


def _pieces(url: str, start: int) -> Iterator[bytes]:
    """The encoded data in pieces that split no percent-escape."""
    while start < len(url):
        end = start + _PIECE_BYTES
        cut = url.find("%", end - 2, end)
        if cut >= 0 and end < len(url):
            end = cut
        yield url[start:end].encode("ascii")
        start = end


def _decoded(encoded: bytes) -> bytes:
    if _BAD_ESCAPE.search(encoded) or _NOT_IN_URL.search(encoded):
        raise _wrong("Percent-encode every byte of the data: URL that is not allowed in a URL, or use ;base64.")
    # Quoted-printable has `=` where percent-encoding has `%`. It is decoded in C; unquote_to_bytes makes an object for
    # each escape.
    return binascii.a2b_qp(encoded.replace(b"=", b"%3D").replace(b"%", b"="))


def _not_base64() -> InvalidRequestError:
    return _wrong("The base64 of the data: URL is invalid; use A to Z, a to z, 0 to 9, + and /, and = only at its end.")


def _wrong(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, field=_FIELD)


def _too_large(max_source_bytes: int) -> InvalidRequestError:
    return _wrong(f"The data: URL holds more than the {max_source_bytes} bytes that a source may have.")
