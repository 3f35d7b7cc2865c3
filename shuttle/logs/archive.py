"""The archive: a log that is whole, in the object store, and read from there by offset."""

import asyncio
import hashlib
from collections import OrderedDict
from pathlib import Path

from shuttle.errors import ObjectStoreError
from shuttle.logs.spool import ENDING_BYTES, SpoolError
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
    hashed, size_bytes = hashlib.sha256(), 0
    block = bytearray(_HASHED_AT_ONCE_BYTES)
    try:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(block):
                hashed.update(memoryview(block)[:count])
                size_bytes += count
    except OSError as error:
        raise SpoolError(f"The log's spool cannot be read ({error.strerror}).") from error
    hashed.update(following)
    return size_bytes + len(following), hashed.hexdigest()


class LogSum:
    """Takes a log's bytes as a spool does, and keeps of them only what their sum needs."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._hashed = hashlib.sha256()
        self._ending = b""

    def append(self, text: bytes) -> None:
        """Add to the end."""
        self.size_bytes += len(text)
        self._hashed.update(text)
        self._ending = (self._ending + text)[-ENDING_BYTES:]

    def ending(self) -> bytes:
        """The last bytes so far, ENDING_BYTES of them."""
        return self._ending

    def sha256(self) -> str:
        """Of everything so far, in hex."""
        return self._hashed.hexdigest()


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
