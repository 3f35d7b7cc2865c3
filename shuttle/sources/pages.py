"""Whether what a host sent is a page for people: of a login, a mistake, or around the archive that was meant."""

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE

_PAGE_TYPE = re.compile(r"\s*(?:text/html|application/xhtml\+xml)\s*(?:;.*)?", re.IGNORECASE)
# The tags of WHATWG's MIME Sniffing, 7.1, that a page without `<html>` begins with.
_PAGE_START = re.compile(
    rb"<(?:!doctype\s+html|html|head|title|meta|style|script|body|iframe|h1|div)[\s>]", re.IGNORECASE
)
# gzip, zip (also empty or in parts), bzip2, xz, zstd: whatever the host calls them.
_ARCHIVE_STARTS = (b"\x1f\x8b", b"PK", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


def is_page(start: bytes, content_type: str) -> bool:
    """By how it begins; its declared type counts only for a text, because hosts call archives `text/html` as well."""
    start = _one_byte_a_letter(start)
    # A tar pads its first name with NUL.
    if not start or start.startswith(_ARCHIVE_STARTS) or b"\0" in start[:512]:
        return False
    return bool(_PAGE_START.match(_without_preface(start)) or _PAGE_TYPE.fullmatch(content_type))


def _one_byte_a_letter(start: bytes) -> bytes:
    """A text in UTF-16 that says so, as far as it can be read."""
    if not start.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return start
    return start.decode("utf-16", "replace").encode()


def _without_preface(start: bytes) -> bytes:
    """Without byte order mark, blanks, comments and the XML declaration."""
    rest = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    while rest.startswith((b"<!--", b"<?")):
        rest = rest.partition(b"-->" if rest.startswith(b"<!--") else b"?>")[2].lstrip()
    return rest
