"""The spool: one build's log as a file with one writer and any number of readers."""

import asyncio
import os
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final

from shuttle.errors import ShuttleError

# Reading 64 KiB from the page cache takes 5 µs, and a thread costs 90 µs (measured): only bytes that the kernel has to
# fetch from the disk are read in a thread. 0 = the system has no such flag, and the event loop reads everything.
_ONLY_IF_CACHED: Final = getattr(os, "RWF_NOWAIT", 0)

# The pipeline's own reason line is searched for in this much of the log's end; only a few short lines follow it.
ENDING_BYTES = 16 * 1024


class SpoolError(ShuttleError):
    """The log cannot be written or read (a full or broken disk): its build ends `spool_unwritable`, readers retry."""

    status = 503
    code = "spool_unwritable"


class Spool:
    """A LogReader of a growing file; bytes that the file has already are visible at once. One writer, one loop.

    Readers have offsets of their own; the writer wakes waiting readers. All methods raise SpoolError if the disk fails.
    The file has mode 0600: a log may contain private data of its build.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._complete = False
        self._waiting: set[asyncio.Future[None]] = set()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # Closed with the last reference: a reader can finish after the file is removed.
            weakref.finalize(self, os.close, self._file)
            self._size_bytes = self._written_bytes = os.fstat(self._file).st_size
        except OSError as error:
            raise spool_error("opened", error) from error

    @property
    def size_bytes(self) -> int:
        """How many bytes readers can read now."""
        return self._size_bytes

    @property
    def written_bytes(self) -> int:
        """The size of the file, including bytes that readers cannot see yet."""
        return self._written_bytes

    @property
    def complete(self) -> bool:
        """Whether the log has its last byte."""
        return self._complete

    def ending(self) -> bytes:
        """The last ENDING_BYTES that readers can see, or less."""
        size_bytes = min(self._size_bytes, ENDING_BYTES)
        return self._read(size_bytes, self._size_bytes - size_bytes)

    # --- the writer

    def append(self, text: bytes) -> None:
        """Write at the end and show the text at once."""
        self.write(text)
        self.show(self._written_bytes)

    def write(self, text: bytes) -> None:
        """Add `text` to the end, hidden from readers until `show`. After a SpoolError nothing is added."""
        rest = memoryview(text)
        try:
            while rest:
                rest = rest[os.pwrite(self._file, rest, self._written_bytes + len(text) - len(rest)) :]
        except OSError as error:
            with suppress(OSError):  # bytes beyond the end are harmless, but their space may be needed
                os.ftruncate(self._file, self._written_bytes)
            raise spool_error("written", error) from error
        self._written_bytes += len(text)

    def show(self, size_bytes: int) -> None:
        """Let readers see the first `size_bytes`; a smaller size than before has no effect."""
        if size_bytes > self._size_bytes:
            self._size_bytes = size_bytes
            self._wake()

    def hide(self, offset: int) -> None:
        """Hide the bytes from `offset` on until the next `show`; readers ahead of it wait."""
        self._forget_end(offset)

    def restore(self, offset: int, text: bytes) -> None:
        """Write bytes that an earlier process had shown at `offset`, hidden from readers until `show`."""
        rest = memoryview(text)
        try:
            while rest:
                rest = rest[os.pwrite(self._file, rest, offset + len(text) - len(rest)) :]
        except OSError as error:
            raise spool_error("written", error) from error
        self._written_bytes = max(self._written_bytes, offset + len(text))

    def holds(self, offset: int, text: bytes) -> bool:
        """Whether the file has these bytes at `offset`."""
        return self._read(len(text), offset) == text

    def truncate(self, offset: int) -> None:
        """Cut the file at `offset`; readers ahead of it wait until the same bytes are written again."""
        if offset > self._written_bytes:
            raise SpoolError(f"The spool ends at {self._written_bytes} and cannot be cut at {offset}.")
        try:
            os.ftruncate(self._file, offset)
        except OSError as error:
            raise spool_error("written", error) from error
        self._written_bytes = offset
        self._forget_end(offset)

    def _forget_end(self, offset: int) -> None:
        """Readers see only the bytes before `offset`. A log that loses bytes is no longer complete."""
        if offset < self._size_bytes:
            self._size_bytes, self._complete = offset, False

    async def sync(self) -> None:
        """Return once everything written so far is on the disk, so that the sender may drop its copy."""
        try:
            await asyncio.to_thread(os.fdatasync, self._file)
        except OSError as error:
            raise spool_error("written", error) from error

    def end(self) -> None:
        """Set `complete`; idempotent."""
        self._complete = True
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    # --- the readers

    async def read(self, offset: int, limit_bytes: int) -> bytes:
        """Up to `limit_bytes` from `offset`; b"" at or beyond `size_bytes`."""
        length = min(limit_bytes, self._size_bytes - offset)
        if length <= 0:
            return b""
        cached = self._read_if_cached(length, offset)
        return await asyncio.to_thread(self._read, length, offset) if cached is None else cached

    def _read_if_cached(self, length: int, offset: int) -> bytes | None:
        block = bytearray(length)
        try:
            found = os.preadv(self._file, [block], offset, _ONLY_IF_CACHED)
        except OSError:  # not (completely) cached, or a filesystem without the flag; `_read` reports a broken disk
            return None
        return bytes(block) if found == length else None

    def _read(self, length: int, offset: int) -> bytes:
        try:
            return os.pread(self._file, length, offset)
        except OSError as error:
            raise spool_error("read", error) from error

    async def grown_beyond(self, offset: int) -> None:
        """Return as soon as `size_bytes > offset` or the log is complete."""
        while self._size_bytes <= offset and not self._complete:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            try:
                await waiting
            finally:
                self._waiting.discard(waiting)


def spool_error(what: str, error: OSError) -> SpoolError:
    """The error of a spool that cannot be `what`, a participle (`read`, `written`)."""
    return SpoolError(
        f"The log's spool cannot be {what} ({error.strerror}): free or repair the disk of SHUTTLE_DATA_DIR."
    )
