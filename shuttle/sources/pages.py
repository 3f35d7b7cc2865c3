"""Recognises web pages, which hosts send instead of the archive: a login, an error, or a page with a download link."""

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE

_PAGE_TYPE = re.compile(r"\s*(?:text/html|application/xhtml\+xml)\s*(?:;.*)?", re.IGNORECASE)
# Tags of WHATWG's MIME Sniffing, 7.1, with which a page may begin.
_PAGE_START = re.compile(
    rb"<(?:!doctype\s+html|html|head|title|meta|style|script|body|iframe|h1|div)[\s>]", re.IGNORECASE
)
# gzip, zip (also an empty or a split one), bzip2, xz, zstd.
_ARCHIVE_STARTS = (b"\x1f\x8b", b"PK", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


def is_page(start: bytes, content_type: str) -> bool:
    """Decide by the first bytes. The declared type counts only for text: some hosts declare archives as `text/html`."""
    start = _without_utf16(start)
    # A tar begins with a name that is padded with NUL bytes.
    if not start or start.startswith(_ARCHIVE_STARTS) or b"\0" in start[:512]:
        return False
    return bool(_PAGE_START.match(_without_preface(start)) or _PAGE_TYPE.fullmatch(content_type))


def _without_utf16(start: bytes) -> bytes:
    """Convert text in UTF-16 with a byte order mark to UTF-8."""
    if not start.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return start
    return start.decode("utf-16", "replace").encode()


def _without_preface(start: bytes) -> bytes:
    """Remove a byte order mark, blanks, comments and the XML declaration from the beginning."""
    rest = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    while rest.startswith((b"<!--", b"<?")):
        rest = rest.partition(b"-->" if rest.startswith(b"<!--") else b"?>")[2].lstrip()
    return rest
