"""The archive: stores a complete log in the object store, and reads it from there by offset."""

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
        ObjectStoreError: not stored; the spool is unchanged, retry later.
    """
    await objects.put(name, spool_path, content_type=CONTENT_TYPE)


def digest(path: Path, following: bytes = b"") -> tuple[int, str]:
    """Size and SHA-256 (hex) of the file followed by `following`. Reads the whole file: call it in a thread.

    Raises:
        SpoolError: it cannot be read.
    """
    growing = GrowingDigest(path)
    growing.advance()
    return growing.followed_by(following)


class GrowingDigest:
    """The digest of a file that only grows. `advance` reads: call it in a thread, one call at a time."""

    def __init__(self, path: Path) -> None:
        self.size_bytes = 0
        self._path = path
        self._hashed = hashlib.sha256()

    def advance(self, until: int | None = None) -> None:
        """Add the bytes after those of the last call, to the end of the file or up to an offset.

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
        """Size and SHA-256 (hex) of the bytes read so far, followed by `ending`."""
        whole = self._hashed.copy()
        whole.update(ending)
        return self.size_bytes + len(ending), whole.hexdigest()


class LogBlocks:
    """An LRU cache for blocks of archived logs, shared by all readers, with one limit of memory.

    Concurrent readers of a block share one fetch. Used from one event loop.
    """

    def __init__(self, objects: ObjectStore, memory_bytes: int) -> None:
        self._objects = objects
        self._kept: OrderedDict[_Key, bytes] = OrderedDict()
        self._max_blocks = max(1, memory_bytes // _BLOCK_BYTES // 2)
        # A fetch needs twice the size of its block while the chunks are joined.
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

    async def exists(self, name: str) -> bool:
        """Whether the object exists. Raises ObjectStoreError."""
        return await self._objects.head(name) is not None

    def _keep(self, key: _Key, block: bytes) -> bytes:
        self._kept[key] = block
        if len(self._kept) > self._max_blocks:
            self._kept.popitem(last=False)
        return block

    async def _fetch(self, name: str, start: int, length: int) -> bytes:
        async with self._objects.open(name, start=start, length=length) as found:
            block = b"".join([chunk async for chunk in found.chunks])
        if len(block) != length:
            raise ObjectStoreError(
                f"The size of the archived log differs from its record by {len(block) - length:+d} bytes."
            )
        return block


class ArchivedLog:
    """A LogReader of the object `name` with `size_bytes`; `read` raises ObjectStoreError and ObjectNotFoundError.

    Reads whole blocks: sequential readers cost one request per block, and nothing is open between two reads.
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
        """Return at once: an archived log does not grow."""

    async def exists(self) -> bool:
        """Whether the object exists. Raises ObjectStoreError."""
        return await self._shared.exists(self._name)
