"""Reads a chunked body as leniently as curl does, and rewrites it in the strict form that every parser accepts.

Strict parsers refuse lines that end in a bare line feed, blanks in a chunk's extension, and invalid headers after the
last chunk. None of these changes the body's bytes.
"""

import re
from collections.abc import Callable

from shuttle.outgoing.response_heads import MAX_HEAD_BYTES

# A length, then the end of the line or an extension, which is ignored. 16 digits are curl's limit, too.
_LENGTH = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t\r;].*)?", re.DOTALL)
# Enough to read a length, and to see whether a line is empty.
_KEPT_LINE_BYTES = 32
_LAST = b"0\r\n\r\n"


class BrokenChunksError(ValueError):
    """The boundaries of the chunks cannot be determined."""


class ChunkedBody:
    """Rewrites one body, piece by piece as it is received."""

    def __init__(self) -> None:
        self.is_over = False
        """The end of the body was received; further bytes do not belong to it."""
        self._left_bytes = 0
        self._line = bytearray()
        self._between_bytes = 0
        self._take_line: Callable[[bytes], None] = self._take_length

    def strict(self, data: bytes) -> bytes:
        """Return `data` as strict chunks, without the bytes after the body's end. Raises BrokenChunksError."""
        written: list[bytes] = []
        at = 0
        while at < len(data) and not self.is_over:
            if self._left_bytes:
                piece = data[at : at + self._left_bytes]
                written.append(b"%x\r\n%b\r\n" % (len(piece), piece))
                self._left_bytes -= len(piece)
                at += len(piece)
            else:
                end = data.find(b"\n", at)
                self._collect_line(data[at : end if end >= 0 else len(data)])
                at = end + 1 if end >= 0 else len(data)
                if end >= 0:
                    self._end_line()
        if self.is_over:
            written.append(_LAST)
        return b"".join(written)

    def _collect_line(self, part: bytes) -> None:
        self._between_bytes += len(part)
        self._line += part[: _KEPT_LINE_BYTES - len(self._line)]
        is_after_chunk = self._take_line == self._take_end_of_chunk
        if self._between_bytes > MAX_HEAD_BYTES or (is_after_chunk and self._line.strip(b"\r")):
            raise BrokenChunksError

    def _end_line(self) -> None:
        line, self._line = bytes(self._line), bytearray()
        self._take_line(line)

    def _take_length(self, line: bytes) -> None:
        length = _LENGTH.fullmatch(line)
        if length is None:
            raise BrokenChunksError
        self._left_bytes = int(length[1], 16)
        if self._left_bytes:
            self._between_bytes = 0
            self._take_line = self._take_end_of_chunk
        else:
            self._take_line = self._take_header

    def _take_end_of_chunk(self, _line: bytes) -> None:
        self._take_line = self._take_length

    def _take_header(self, line: bytes) -> None:
        """Ignore headers after the body; an empty line ends it."""
        self.is_over = not line.strip(b"\r")
