"""The bytes of all members of a gzip, up to text behind its end, which the standard library refuses."""

import io
import zlib
from typing import Protocol, cast

_MAGIC = b"\x1f\x8b"
_READ_BYTES = 64 * 1024
_BUFFER_BYTES = 256 * 1024
_GZIP_WINDOW = 31  # zlib.h: 15 bits of window, and 16 for a gzip's head and checksum, which zlib then verifies


class Readable(Protocol):
    """What a gzip is read from."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end."""


def starts_gzip(start: bytes) -> bool:
    """Whether these first bytes are those of a gzip."""
    return start.startswith(_MAGIC)


class GzipStream(io.RawIOBase):
    """Raises zlib.error for damage and EOFError for a member that is cut off. Zeros between members are padding."""

    def __init__(self, packed: Readable) -> None:
        self._packed = packed
        self._input = b""
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        self._ended = False
        self.has_text_behind = False
        """Something that is no further member follows; known once all is read."""

    def buffered(self) -> io.BufferedReader:
        """Its bytes in pieces of any size."""
        return io.BufferedReader(cast("io.RawIOBase", self), _BUFFER_BYTES)

    def readable(self) -> bool:
        """For BufferedReader."""
        return True

    def readinto(self, buffer: bytearray, /) -> int:  # type: ignore[override] # any writable buffer
        """For BufferedReader: at least a byte before the end."""
        while not self._ended:
            if self._member.eof and not self._begin_member():
                break
            packed = self._input or self._packed.read(_READ_BYTES)
            expanded = self._member.decompress(packed, len(buffer))
            self._input = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if expanded:
                buffer[: len(expanded)] = expanded
                return len(expanded)
            if not packed:
                raise EOFError("it ends within the gzip")
        return 0

    def _begin_member(self) -> bool:
        """Skip padding; fails at the end, or at text behind it."""
        self._input = self._input.lstrip(b"\0")
        while len(self._input) < len(_MAGIC) and (more := self._packed.read(_READ_BYTES)):
            self._input = (self._input + more).lstrip(b"\0")
        if starts_gzip(self._input):
            self._member = zlib.decompressobj(_GZIP_WINDOW)
            return True
        self._ended = True
        self.has_text_behind = bool(self._input)
        return False
