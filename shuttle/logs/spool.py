"""The spool: one build's log as a file that one writer appends to and any number of readers read behind it."""

import asyncio
import os
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final

from shuttle.errors import ShuttleError

# What is in the page cache is read in 5 µs for 64 KiB (measured), a thread costs 90 µs: only what the kernel would have
# to fetch from the disk is read in a thread. 0 where the system has no such flag: then everything is read directly.
_ONLY_IF_CACHED: Final = getattr(os, "RWF_NOWAIT", 0)

# Where the pipeline's own word about its end is looked for; what follows it are a few short lines.
ENDING_BYTES = 16 * 1024


class SpoolError(ShuttleError):
    """The disk does not take or give the log (full, broken): its build ends `spool_unwritable`, readers ask again."""

    status = 503
    code = "spool_unwritable"


class Spool:
    """A LogReader over a file that still grows; made with what the file holds already. One writer, one loop.

    Readers are woken by the writer, hold nothing here but their wait, and read the file at their own offsets.
    Every method raises SpoolError where the disk fails. 0600: a log may show what its build thinks private.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._complete = False
        self._waiting: set[asyncio.Future[None]] = set()
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # Closed with its last holder: whoever still reads an archived log's spool reads on, also after its removal.
            weakref.finalize(self, os.close, self._file)
            self._size_bytes = os.fstat(self._file).st_size
        except OSError as error:
            raise _spool_error("opened", error) from error

    @property
    def size_bytes(self) -> int:
        """How much there is now."""
        return self._size_bytes

    @property
    def complete(self) -> bool:
        """Nothing will be added any more."""
        return self._complete

    def ending(self) -> bytes:
        """The last bytes so far, ENDING_BYTES of them; raises SpoolError."""
        size_bytes = min(self._size_bytes, ENDING_BYTES)
        return self._read(size_bytes, self._size_bytes - size_bytes)

    # --- the writer

    def append(self, text: bytes) -> None:
        """Add to the end and wake the readers; all of `text` or, with SpoolError, nothing."""
        if not text:
            return
        rest = memoryview(text)
        try:
            while rest:
                rest = rest[os.pwrite(self._file, rest, self._size_bytes + len(text) - len(rest)) :]
        except OSError as error:
            with suppress(OSError):  # what was taken of it is beyond `size_bytes`: harmless, but the space may help
                os.ftruncate(self._file, self._size_bytes)
            raise _spool_error("written", error) from error
        self._size_bytes += len(text)
        self._wake()

    def truncate(self, offset: int) -> None:
        """Go back to `offset`, to write the same bytes once more; readers that are ahead wait for them."""
        if offset > self._size_bytes:
            raise SpoolError(f"The spool ends at {self._size_bytes} and cannot go on at {offset}: read the log again.")
        try:
            os.ftruncate(self._file, offset)
        except OSError as error:
            raise _spool_error("written", error) from error
        self._size_bytes = offset

    async def sync(self) -> None:
        """Return once everything appended so far is on the disk: a checkpoint may refer to it."""
        try:
            await asyncio.to_thread(os.fdatasync, self._file)
        except OSError as error:
            raise _spool_error("written", error) from error

    def end(self) -> None:
        """Say that nothing will be added any more; also fine twice."""
        self._complete = True
        self._wake()

    def _wake(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    # --- the readers

    async def read(self, offset: int, limit_bytes: int) -> bytes:
        """Up to `limit_bytes` from `offset`; b"" at or beyond the present end."""
        length = min(limit_bytes, self._size_bytes - offset)
        if length <= 0:
            return b""
        cached = self._read_if_cached(length, offset)
        return await asyncio.to_thread(self._read, length, offset) if cached is None else cached

    def _read_if_cached(self, length: int, offset: int) -> bytes | None:
        block = bytearray(length)
        try:
            found = os.preadv(self._file, [block], offset, _ONLY_IF_CACHED)
        except OSError:  # not (wholly) cached, or a filesystem without the flag; a broken disk shows in `_read`
            return None
        return bytes(block) if found == length else None

    def _read(self, length: int, offset: int) -> bytes:
        try:
            return os.pread(self._file, length, offset)
        except OSError as error:
            raise _spool_error("read", error) from error

    async def grown_beyond(self, offset: int) -> None:
        """Return as soon as `size_bytes > offset` or the log is complete."""
        while self._size_bytes <= offset and not self._complete:
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            try:
                await waiting
            finally:
                self._waiting.discard(waiting)


def _spool_error(what: str, error: OSError) -> SpoolError:
    return SpoolError(
        f"The log's spool cannot be {what} ({error.strerror}): free or repair the disk of SHUTTLE_DATA_DIR."
    )
