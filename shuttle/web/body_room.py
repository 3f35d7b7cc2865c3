"""Limits of the memory and the disk space that all bodies together use while they are received and read."""

import asyncio
import mmap
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from shuttle.errors import BusyError
from shuttle.objects.local import local_disk

# A longer body is received into a file.
MEMORY_OF_A_BODY_BYTES = 1024 * 1024
# How long a received body waits until there is memory for it; existing clients wait 60 s for a response.
_LONGEST_WAIT_SECONDS = 20.0


class BodyRoom:
    """The memory and disk space that is left for bodies. Used from one event loop."""

    def __init__(self, *, memory_bytes: int, disk_bytes: int, folder: Path) -> None:
        self.folder = folder
        self.memory_left_bytes = self._memory_bytes = memory_bytes
        self.disk_left_bytes = disk_bytes
        self._turn = asyncio.Lock()
        self._given_back: asyncio.Future[None] | None = None

    def take_memory(self, size_bytes: int) -> bool:
        """Reserve memory; False if not enough is left."""
        if size_bytes > self.memory_left_bytes:
            return False
        self.memory_left_bytes -= size_bytes
        return True

    def give_memory(self, size_bytes: int) -> None:
        """Return memory that is not needed any more."""
        self.memory_left_bytes += size_bytes
        if self._given_back is not None and not self._given_back.done():
            self._given_back.set_result(None)

    def take_disk(self, size_bytes: int) -> None:
        """Reserve disk space; raises BusyError if not enough is left."""
        if size_bytes > self.disk_left_bytes:
            raise BusyError(
                "Bodies of other requests use all the disk space for bodies (SHUTTLE_BODY_DISK_BYTES); try again later."
            )
        self.disk_left_bytes -= size_bytes

    @asynccontextmanager
    async def reading(self, size_bytes: int) -> AsyncIterator[None]:
        """Reserve memory while a body is read from its file.

        No body reserves more than half of all memory, so even one that is larger than all memory can be read.

        Raises:
            BusyError: other requests did not return enough memory in time.
        """
        wanted_bytes = min(size_bytes, self._memory_bytes // 2)
        try:
            async with asyncio.timeout(_LONGEST_WAIT_SECONDS), self._turn:
                while not self.take_memory(wanted_bytes):
                    self._given_back = asyncio.get_running_loop().create_future()
                    await self._given_back
        except TimeoutError:
            raise BusyError(
                "Other requests use all the memory for bodies (SHUTTLE_BODY_MEMORY_BYTES); try again later."
            ) from None
        try:
            yield
        finally:
            self.give_memory(wanted_bytes)


class BodyBuffer:
    """The bytes of one body: in memory up to 1 MiB; in an unnamed file if it is longer, or if no memory is left."""

    def __init__(self, room: BodyRoom) -> None:
        self._room = room
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        self.size_bytes = 0

    async def add(self, chunk: bytes) -> None:
        """Append the chunk; raises BusyError, LocalDiskError."""
        if self._file is None and (
            self.size_bytes + len(chunk) > MEMORY_OF_A_BODY_BYTES or not self._room.take_memory(len(chunk))
        ):
            await self._move_to_file()
        if self._file is None:
            self._memory += chunk
            self.size_bytes += len(chunk)
        else:
            await self._write(chunk)

    async def _move_to_file(self) -> None:
        with local_disk():
            self._file = tempfile.TemporaryFile(dir=self._room.folder, prefix="body-")  # noqa: SIM115 - see close
        memory, self._memory, self.size_bytes = bytes(self._memory), bytearray(), 0
        self._room.give_memory(len(memory))
        await self._write(memory)

    async def _write(self, chunk: bytes) -> None:
        assert self._file is not None  # noqa: S101 - its callers have checked it
        self._room.take_disk(len(chunk))
        self.size_bytes += len(chunk)
        with local_disk():
            await asyncio.to_thread(self._file.write, chunk)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[bytes | mmap.mmap]:
        """The whole body for reading; raises BusyError, LocalDiskError."""
        if self._file is None:
            yield bytes(self._memory)
            return
        async with self._room.reading(self.size_bytes):
            with local_disk():
                self._file.flush()
                self._map = mmap.mmap(self._file.fileno(), self.size_bytes, access=mmap.ACCESS_READ)
            try:
                yield self._map
            finally:
                with suppress(BufferError):  # a thread still reads it, because the request was cancelled meanwhile
                    self._map.close()

    def close(self) -> None:
        """Return all memory and disk space that the buffer uses."""
        if self._file is None:
            self._room.give_memory(self.size_bytes)
        else:
            with suppress(OSError):  # close flushes again what the full disk refused; the file is closed even so
                self._file.close()
            self._file = None
            self._room.disk_left_bytes += self.size_bytes
        self.size_bytes = 0
        self._memory = bytearray()
