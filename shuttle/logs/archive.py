"""The archive: a log that is whole, in the object store, and read from there by offset."""

import asyncio
import hashlib
from collections import OrderedDict
from pathlib import Path
from weakref import WeakValueDictionary

from shuttle.errors import ObjectStoreError
from shuttle.logs.spool import SpoolError
from shuttle.objects import ObjectStore

CONTENT_TYPE = "text/plain; charset=utf-8"
_HASHED_AT_ONCE_BYTES = 1024 * 1024
# A request to an object store costs 10 to 50 ms: blocks of this size give a reader 20 MB/s and more.
_BLOCK_BYTES = 1024 * 1024

# An object's name, the number of a block, and its length.
_Key = tuple[str, int, int]


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


class LogBlocks:
    """Blocks of archived logs, shared by all readers of all logs: the last used ones, within one bound of memory.

    A block is fetched once, however many readers want it. Used from one event loop.
    """

    def __init__(self, objects: ObjectStore, memory_bytes: int) -> None:
        self._objects = objects
        self._kept: OrderedDict[_Key, bytes] = OrderedDict()
        self._most_kept = max(1, memory_bytes // _BLOCK_BYTES // 2)
        # What is fetched takes twice its size while its chunks are joined.
        self._fetches = asyncio.Semaphore(max(1, memory_bytes // _BLOCK_BYTES // 4))
        self._locks: WeakValueDictionary[_Key, asyncio.Lock] = WeakValueDictionary()

    async def read(self, name: str, number: int, length: int) -> bytes:
        """Block `number` of the object, which has `length` bytes. Raises ObjectStoreError, ObjectNotFoundError."""
        key = (name, number, length)
        if key not in self._kept:
            async with self._locks.setdefault(key, asyncio.Lock()):
                if key not in self._kept:
                    async with self._fetches:
                        block = await self._fetch(name, number * _BLOCK_BYTES, length)
                    return self._keep(key, block)
        self._kept.move_to_end(key)
        return self._kept[key]

    async def are_kept(self, name: str) -> bool:
        """Whether there is such an object. Raises ObjectStoreError."""
        return await self._objects.head(name) is not None

    def _keep(self, key: _Key, block: bytes) -> bytes:
        self._kept[key] = block
        if len(self._kept) > self._most_kept:
            self._kept.popitem(last=False)
        return block

    async def _fetch(self, name: str, start: int, length: int) -> bytes:
        async with self._objects.open(name, start=start, length=length) as found:
            block = b"".join([chunk async for chunk in found.chunks])
        if len(block) != length:
            raise ObjectStoreError(f"The archived log is {len(block) - length:+d} bytes off what was recorded of it.")
        return block


class ArchivedLog:
    """A LogReader over the object `name` of `size_bytes`; raises ObjectStoreError or ObjectNotFoundError from `read`.

    Reads whole blocks, so that sequential readers cost one request a block and nothing is open between two reads.
    """

    complete = True

    def __init__(self, blocks: LogBlocks, name: str, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._shared = blocks
        self._name = name

    async def read(self, offset: int, limit_bytes: int) -> bytes:
        """Up to `limit_bytes` from `offset`, at most to the end of a block; b"" at or beyond the end."""
        if offset >= self.size_bytes or limit_bytes <= 0:
            return b""
        number, within = divmod(offset, _BLOCK_BYTES)
        length = min(_BLOCK_BYTES, self.size_bytes - number * _BLOCK_BYTES)
        return (await self._shared.read(self._name, number, length))[within : within + limit_bytes]

    async def grown_beyond(self, offset: int) -> None:
        """Return: nothing will be added any more."""

    async def is_kept(self) -> bool:
        """Whether it can be read. Raises ObjectStoreError."""
        return await self._shared.are_kept(self._name)
