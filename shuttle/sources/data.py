"""data: sources: the archive itself in the request, as RFC 2397 writes it or as the old clients do."""

import binascii
import re

from shuttle.errors import InvalidRequestError

_FIELD = "source.url"
_NAME = r"[A-Za-z0-9!#$&^_.+\-]+"
_VALUE = r'(?:(?:[A-Za-z0-9!#$&^_.+\-\'*`{|}~]|%[0-9A-Fa-f]{2})*|"[ !#-~]*")'
_MEDIA_TYPE = re.compile(rf"(?:{_NAME}/{_NAME})?(?:;{_NAME}={_VALUE})*")
_BASE64 = re.compile(r"(?:\A|;)base64\Z", re.IGNORECASE)
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# RFC 3986's characters; `#` would begin a fragment.
_NOT_IN_URL = re.compile(rb"[^!$%&'()*+,\-./0-9:;=?@A-Z_a-z~\[\]]")
_DEFAULT_TYPE = "text/plain;charset=US-ASCII"
_MAX_TYPE = 255
# Decoding is one call in which no other thread runs: 5 ms for this much.
_PIECE_BYTES = 1024 * 1024


def decode_data_url(url: str, max_source_bytes: int) -> tuple[bytes, str]:
    """The bytes and the media type of `data:[type][;base64],…`, or `data:base64,…` as the old clients write it.

    Base64 is the standard alphabet, with or without its padding, also in lines (CR, LF); percent-escapes are decoded
    first. The type is as written, with RFC 2397's default where there is none. 64 MiB take 0.3 s: call it in a thread,
    which lets others run every few milliseconds where it is base64 without escapes.

    Raises:
        InvalidRequestError: field `source.url`; the message never repeats the URL.
    """
    head, comma, body = url.partition(",")  # a copy, but one of 0.02 s
    if head[:5].lower() != "data:" or not comma:
        raise _wrong("Write the source as data:[type][;base64],… with a comma before the data.")
    media_type, is_base64 = _read_head(head[5:])
    try:
        content = _from_base64(body, max_source_bytes) if is_base64 else _from_escapes(body.encode("ascii"))
    except UnicodeEncodeError:
        raise _wrong("Percent-encode what is not ASCII in the data: URL, or use ;base64.") from None
    if not content:
        raise _wrong("The data: URL holds no bytes; put an archive into it.")
    if len(content) > max_source_bytes:
        raise _too_large(max_source_bytes)
    return content, media_type


def _read_head(head: str) -> tuple[str, bool]:
    media_type = _BASE64.sub("", head)
    if len(media_type) > _MAX_TYPE or not _MEDIA_TYPE.fullmatch(media_type):
        raise _wrong("Write the media type of the data: URL as type/subtype;name=value, before ;base64.")
    is_base64 = media_type != head
    if media_type.startswith(";"):
        return f"text/plain{media_type}", is_base64
    return media_type or _DEFAULT_TYPE, is_base64


def _from_base64(encoded: str, max_source_bytes: int) -> bytes:
    if "%" in encoded:
        lines = encoded.replace("\r", "").replace("\n", "")
        unescaped = _from_escapes(lines.encode("ascii"))
        if not unescaped.isascii():
            raise _not_base64()
        encoded = unescaped.decode()
    encoded = encoded.rstrip("\r\n")
    decoded: list[bytes] = []
    left, size_bytes = b"", 0
    for start in range(0, len(encoded), _PIECE_BYTES):
        text = left + encoded[start : start + _PIECE_BYTES].encode("ascii").translate(None, b"\r\n")
        whole = len(text) // 4 * 4
        if start + _PIECE_BYTES >= len(encoded):
            text += b"=" * (0 if text.endswith(b"=") else -len(text) % 4)
            whole = len(text)
        elif b"=" in text[:whole]:
            raise _not_base64()
        decoded.append(_quads(text[:whole]))
        left = text[whole:]
        size_bytes += len(decoded[-1])
        if size_bytes > max_source_bytes:
            raise _too_large(max_source_bytes)
    return b"".join(decoded)


def _quads(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise _not_base64() from None


def _from_escapes(encoded: bytes) -> bytes:
    if _BAD_ESCAPE.search(encoded) or _NOT_IN_URL.search(encoded):
        raise _wrong("Percent-encode every byte of the data: URL that is not allowed in a URL, or use ;base64.")
    # Quoted-printable is the same with `=`, and decoded in C: unquote_to_bytes makes an object of every escape.
    return binascii.a2b_qp(encoded.replace(b"=", b"%3D").replace(b"%", b"="))


def _not_base64() -> InvalidRequestError:
    return _wrong("The data: URL is not valid base64: A to Z, a to z, 0 to 9, + and /, padded with =.")


def _wrong(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, field=_FIELD)


def _too_large(max_source_bytes: int) -> InvalidRequestError:
    return _wrong(f"The data: URL holds more than the {max_source_bytes} bytes that a source may have.")
