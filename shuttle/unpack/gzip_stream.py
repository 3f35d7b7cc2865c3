"""Decompresses all members of a gzip, and ignores bytes after its end, which the standard library's gzip refuses."""

import io
import zlib
from typing import Protocol, cast

_MAGIC = b"\x1f\x8b"
_READ_BYTES = 64 * 1024
_BUFFER_BYTES = 256 * 1024
_GZIP_WINDOW = 31  # zlib.h: a window of 15 bits, plus 16 to read a gzip's header and verify its checksum


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """Read up to `size` bytes; b"" at the end."""


def starts_gzip(start: bytes) -> bool:
    """Whether `start` begins like a gzip."""
    return start.startswith(_MAGIC)


class GzipStream(io.RawIOBase):
    """The decompressed bytes of a gzip. Zeros between its members are padding.

    Reading raises zlib.error for a damaged gzip and EOFError for an incomplete one.
    """

    def __init__(self, packed: Readable) -> None:
        self._packed = packed
        self._input = b""
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        self._ended = False
        self.has_trailing_bytes = False
        """Bytes follow that are not another member; set when everything was read."""

    def buffered(self) -> io.BufferedReader:
        """A reader for pieces of any size."""
        return io.BufferedReader(cast("io.RawIOBase", self), _BUFFER_BYTES)

    def readable(self) -> bool:
        """For BufferedReader."""
        return True

    def readinto(self, buffer: bytearray, /) -> int:  # type: ignore[override] # any writable buffer
        """For BufferedReader: reads at least one byte, except at the end."""
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
        """Skip padding and begin the next member; False = there is none."""
        self._input = self._input.lstrip(b"\0")
        while len(self._input) < len(_MAGIC) and (more := self._packed.read(_READ_BYTES)):
            self._input = (self._input + more).lstrip(b"\0")
        if starts_gzip(self._input):
            self._member = zlib.decompressobj(_GZIP_WINDOW)
            return True
        self._ended = True
        self.has_trailing_bytes = bool(self._input)
        return False
