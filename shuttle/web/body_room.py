"""The room that bodies take while they are received and read: so much memory for all of them, and so much disk."""

import asyncio
import mmap
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from shuttle.errors import BusyError
from shuttle.objects.local import local_disk

# A longer body waits in a file until it is whole.
MEMORY_OF_A_BODY_BYTES = 1024 * 1024
# How long a body that is whole waits until there is memory to read it; callers in the field wait 60 s for an answer.
_LONGEST_WAIT_SECONDS = 20.0


class BodyRoom:
    """What is left for bodies. Used from one event loop."""

    def __init__(self, *, memory_bytes: int, disk_bytes: int, folder: Path) -> None:
        self.folder = folder
        self.memory_left_bytes = self._memory_bytes = memory_bytes
        self.disk_left_bytes = disk_bytes
        self._turn = asyncio.Lock()
        self._given_back: asyncio.Future[None] | None = None

    def take_memory(self, size_bytes: int) -> bool:
        """False = there is not so much left."""
        if size_bytes > self.memory_left_bytes:
            return False
        self.memory_left_bytes -= size_bytes
        return True

    def give_memory(self, size_bytes: int) -> None:
        """It is not needed any more."""
        self.memory_left_bytes += size_bytes
        if self._given_back is not None and not self._given_back.done():
            self._given_back.set_result(None)

    def take_disk(self, size_bytes: int) -> None:
        """Raises BusyError: there is not so much left."""
        if size_bytes > self.disk_left_bytes:
            raise BusyError("Bodies of other requests take all the room for them (SHUTTLE_BODY_DISK_BYTES); ask again.")
        self.disk_left_bytes -= size_bytes

    @asynccontextmanager
    async def reading(self, size_bytes: int) -> AsyncIterator[None]:
        """Memory to read a body that is in a file; one that is larger than all of it is read alone.

        Raises:
            BusyError: others have not given back enough in time.
        """
        wanted_bytes = min(size_bytes, self._memory_bytes // 2)
        try:
            async with asyncio.timeout(_LONGEST_WAIT_SECONDS), self._turn:
                while not self.take_memory(wanted_bytes):
                    self._given_back = asyncio.get_running_loop().create_future()
                    await self._given_back
        except TimeoutError:
            raise BusyError(
                "Other requests take all the memory for bodies (SHUTTLE_BODY_MEMORY_BYTES); ask again."
            ) from None
        try:
            yield
        finally:
            self.give_memory(wanted_bytes)


class BodyBuffer:
    """One body: its bytes in memory, and from 1 MiB on, or where no memory is left, in a file without a name."""

    def __init__(self, room: BodyRoom) -> None:
        self._room = room
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        self.size_bytes = 0

    async def add(self, chunk: bytes) -> None:
        """Raises BusyError, LocalDiskError."""
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
        assert self._file is not None  # noqa: S101 - its callers have looked
        self._room.take_disk(len(chunk))
        self.size_bytes += len(chunk)
        with local_disk():
            await asyncio.to_thread(self._file.write, chunk)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[bytes | mmap.mmap]:
        """All of it, to be read. Raises BusyError, LocalDiskError."""
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
                self._map.close()

    def close(self) -> None:
        """Give back all that it took."""
        if self._file is None:
            self._room.give_memory(self.size_bytes)
        else:
            with suppress(OSError):  # it tries once more to write what the disk had no room for; the file is closed
                self._file.close()
            self._file = None
            self._room.disk_left_bytes += self.size_bytes
        self.size_bytes = 0
        self._memory = bytearray()
