"""Repairs text that is not valid UTF-8, and finds the starts of characters."""

from collections.abc import Iterator

# Most output is ASCII, apart from a few words. `isascii` reads 28 GB a second, `decode` 1.6 if a character is beyond
# Latin-1 (measured), so only blocks that are not ASCII are decoded.
_BLOCK_BYTES = 4096


def repaired(text: bytes) -> bytes:
    """`text` itself if it is valid UTF-8, else a copy with invalid bytes replaced by U+FFFD."""
    if text.isascii() or all(_is_valid(run) for run in _runs_beyond_ascii(text)):
        return text
    return text.decode(errors="replace").encode()


def character_start(text: bytes, at: int) -> int:
    """The start of the character that the byte at `at` belongs to; `at` itself at the end of the text."""
    while 0 < at < len(text) and text[at] & 0xC0 == 0x80:
        at -= 1
    return at


def _runs_beyond_ascii(text: bytes) -> Iterator[bytes]:
    """The blocks that are not ASCII, adjacent ones joined. No character extends beyond its run."""
    start = None
    for at in range(0, len(text), _BLOCK_BYTES):
        if text[at : at + _BLOCK_BYTES].isascii():
            if start is not None:
                yield text[start:at]
            start = None
        elif start is None:
            start = at
    if start is not None:
        yield text[start:]


def _is_valid(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
