"""Conversion of JSON bodies in another charset to UTF-8."""

import asyncio
import codecs
import mmap
import re
from collections.abc import Iterator

from shuttle.errors import UnsupportedMediaTypeError

_PIECE_BYTES = 1024 * 1024
# Bodies in UTF-8, the encoding of JSON, may be longer.
_MAX_OTHER_BYTES = 4 * 1024 * 1024
# By Python's names. Not all of its codecs take a time that only grows with the length: `punycode` needs minutes for
# 1 MiB.
_CHARSETS = re.compile(r"utf-(16|32)(-[lb]e)?|iso8859-[0-9]+|cp125[0-9]")


async def in_utf8(body: bytes | mmap.mmap, charset: str | None) -> bytes | mmap.mmap:
    """The body in UTF-8. `charset` only counts for a body that is not: JSON has no such parameter (RFC 8259, 11).

    Raises:
        UnsupportedMediaTypeError: 415, the body is neither UTF-8 nor in that charset, which is one of _CHARSETS.
    """
    if charset is None:
        return body
    if len(body) < _PIECE_BYTES:
        return _in_utf8(body, charset)
    return await asyncio.to_thread(_in_utf8, body, charset)


def _in_utf8(body: bytes | mmap.mmap, charset: str) -> bytes | mmap.mmap:
    if _may_be_json_in_utf8(body):
        return body
    try:
        if len(body) <= _MAX_OTHER_BYTES and _CHARSETS.fullmatch(codecs.lookup(charset).name):
            return body[:].decode(charset).encode()
    except (LookupError, UnicodeError):
        pass
    raise UnsupportedMediaTypeError("Send the body in UTF-8.")


def _may_be_json_in_utf8(body: bytes | mmap.mmap) -> bool:
    """Whether it is UTF-8 without NUL: JSON escapes NUL, and UTF-16 and UTF-32 have it in each ASCII character."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for piece in _pieces(body):
            if "\0" in decoder.decode(piece):
                return False
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _pieces(body: bytes | mmap.mmap) -> Iterator[bytes]:
    return (body[start : start + _PIECE_BYTES] for start in range(0, len(body), _PIECE_BYTES))
