"""The raw log file of a build: engine lines have hidden notes, which most readers do not get.

Jenkins' offsets (X-Text-Size) count the raw bytes: notes included, line ends as written. progressiveText has CRLF
instead of every lone LF, and in the newer generation it has the notes. consoleText has the line ends as written. A
reader that starts inside a note gets the rest of the note's base64.
"""

import base64
import re
from collections.abc import Iterator
from pathlib import Path

_CHUNK_BYTES = 1 << 20
# What looks like a note and has not ended after this many bytes is text of the user.
_LONGEST_NOTE_BYTES = 1 << 16

_NOTE_START = b"\x1b[8mha:"
_NOTE_END = b"\x1b[0m"
_NOTE = re.compile(rb"\x1b\[8mha:[^\x1b\n]*\x1b\[0m")
_LONE_LF = re.compile(rb"(?<!\r)\n")


def note(about: str) -> bytes:
    """A hidden note as Jenkins writes it before links and engine lines (about 150 bytes, as in a real Jenkins)."""
    payload = base64.b64encode(f"console note about {about}".encode().ljust(96))
    return _NOTE_START + b"////4" + payload + _NOTE_END


def end_of_lines(path: Path, start: int, end: int, lines: int) -> int:
    """The raw offset of the end of `lines` lines from `start` on, or `end` if there are fewer."""
    with path.open("rb") as log:
        log.seek(start)
        at = start
        while at < end and (piece := log.read(min(_CHUNK_BYTES, end - at))):
            count = piece.count(b"\n")
            if count >= lines:
                found = -1
                for _ in range(lines):
                    found = piece.index(b"\n", found + 1)
                return at + found + 1
            lines -= count
            at += len(piece)
    return end


def read_text(path: Path, start: int, end: int, *, crlf: bool, notes: bool = False) -> Iterator[bytes]:
    """The text between two raw offsets in pieces of about 1 MiB, without notes unless asked for."""
    pieces = _pieces(path, start, end) if notes else _without_notes(_pieces(path, start, end))
    return _with_crlf(pieces) if crlf else pieces


def _pieces(path: Path, start: int, end: int) -> Iterator[bytes]:
    with path.open("rb") as log:
        log.seek(start)
        left = end - start
        while left > 0 and (piece := log.read(min(_CHUNK_BYTES, left))):
            left -= len(piece)
            yield piece


def _without_notes(pieces: Iterator[bytes]) -> Iterator[bytes]:
    carried = b""
    for piece in pieces:
        text, carried = _split(carried + piece)
        yield _NOTE.sub(b"", text)
    yield _NOTE.sub(b"", carried)


def _with_crlf(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Insert a CR before each LF without one, across pieces too, as Jenkins' LineEndNormalizingWriter does."""
    ends_in_cr = False
    for piece in pieces:
        begins_with_lf = ends_in_cr and piece.startswith(b"\n")
        text = _LONE_LF.sub(b"\r\n", piece)
        yield text.removeprefix(b"\r") if begins_with_lf else text
        ends_in_cr = piece.endswith(b"\r") if piece else ends_in_cr


def _split(raw: bytes) -> tuple[bytes, bytes]:
    """The part that can be served now, and the beginning of a note whose end is in the next piece."""
    opened = raw.rfind(_NOTE_START)
    if opened >= 0 and len(raw) - opened < _LONGEST_NOTE_BYTES and not _ends_within(raw, opened):
        return raw[:opened], raw[opened:]
    escape = raw.rfind(b"\x1b")
    if escape >= 0 and _NOTE_START.startswith(raw[escape:]):
        return raw[:escape], raw[escape:]
    return raw, b""


def _ends_within(raw: bytes, opened: int) -> bool:
    return raw.find(_NOTE_END, opened) >= 0 or raw.find(b"\n", opened) >= 0
