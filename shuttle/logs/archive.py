"""The archive: a log that is whole, in the object store, and read from there by offset."""

import asyncio
import hashlib
from collections import OrderedDict
from pathlib import Path

from shuttle.errors import ObjectStoreError
from shuttle.logs.spool import SpoolError
from shuttle.objects import ObjectStore

CONTENT_TYPE = "text/plain; charset=utf-8"
_HASHED_AT_ONCE_BYTES = 1024 * 1024
# A request to an object store costs 10 to 50 ms: blocks of this size give a reader 20 MB/s and more.
_BLOCK_BYTES = 1024 * 1024
# For readers that go side by side (sinks, HTTP readers), each of which reads one block after the other.
_KEPT_BLOCKS = 4


async def archive(spool_path: Path, objects: ObjectStore, name: str) -> None:
    """Store the whole log as `name`.

    Raises:
        ObjectStoreError: not stored; the spool stays, try again later.
    """
    await objects.put(name, spool_path, content_type=CONTENT_TYPE)


def digest(path: Path, following: bytes = b"") -> tuple[int, str]:
    """Size and SHA-256 (hex) of the file and of what will follow it; reads it all, so for a thread.

    Raises:
        SpoolError: it cannot be read.
    """
    growing = GrowingDigest(path)
    growing.advance()
    return growing.followed_by(following)


class GrowingDigest:
    """The sum of a file that only grows. `advance` reads, so it is for a thread; one at a time."""

    def __init__(self, path: Path) -> None:
        self.size_bytes = 0
        self._path = path
        self._hashed = hashlib.sha256()

    def advance(self, until: int | None = None) -> None:
        """Add what the file has beyond the last time, all of it or up to an offset.

        Raises:
            SpoolError: it cannot be read; a later call continues at the same offset.
        """
        block = memoryview(bytearray(_HASHED_AT_ONCE_BYTES))
        try:
            with self._path.open("rb", buffering=0) as file:
                file.seek(self.size_bytes)
                while count := file.readinto(block if until is None else block[: max(0, until - self.size_bytes)]):
                    self._hashed.update(block[:count])
                    self.size_bytes += count
        except OSError as error:
            raise SpoolError(f"The log's spool cannot be read ({error.strerror}).") from error

    def followed_by(self, ending: bytes) -> tuple[int, str]:
        """Size and SHA-256 (hex) with `ending` behind what was read so far."""
        whole = self._hashed.copy()
        whole.update(ending)
        return self.size_bytes + len(ending), whole.hexdigest()


class ArchivedLog:
    """A LogReader over the object `name` of `size_bytes`; raises ObjectStoreError or ObjectNotFoundError from `read`.

    Reads whole blocks and keeps the last few, so that sequential readers cost one request a block and nothing is open
    between two reads.
    """

    complete = True

    def __init__(self, objects: ObjectStore, name: str, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._objects = objects
        self._name = name
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._fetching = asyncio.Lock()

    async def read(self, offset: int, limit_bytes: int) -> bytes:
        """Up to `limit_bytes` from `offset`, at most to the end of a block; b"" at or beyond the end."""
        if offset >= self.size_bytes or limit_bytes <= 0:
            return b""
        number, within = divmod(offset, _BLOCK_BYTES)
        return (await self._block(number))[within : within + limit_bytes]

    async def grown_beyond(self, offset: int) -> None:
        """Return: nothing will be added any more."""

    async def _block(self, number: int) -> bytes:
        async with self._fetching:
            if number not in self._blocks:
                self._blocks[number] = await self._fetch(number)
                if len(self._blocks) > _KEPT_BLOCKS:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end(number)
            return self._blocks[number]

    async def _fetch(self, number: int) -> bytes:
        start = number * _BLOCK_BYTES
        length = min(_BLOCK_BYTES, self.size_bytes - start)
        async with self._objects.open(self._name, start=start, length=length) as found:
            block = b"".join([chunk async for chunk in found.chunks])
        if len(block) != length:
            raise ObjectStoreError(f"The archived log is {len(block) - length:+d} bytes off what was recorded of it.")
        return block
