"""The archived log: the same bytes at the same offsets as the spool, with few requests."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shuttle.errors import ObjectNotFoundError, ObjectStoreError
from shuttle.logs.archive import ArchivedLog, LogBlocks, archive, digest
from shuttle.logs.spool import Spool, SpoolError
from shuttle.objects import OpenObject
from shuttle.objects.directory import DirectoryStore

MEMORY_BYTES = 64 * 1024 * 1024
NAME = "8c2b0d3c-95e1-4c2b-9a43-1f6d8a1f0b11.log"
TEXT = random.Random(4).randbytes(3 * 1024 * 1024 + 17)


class CountingStore(DirectoryStore):
    """A directory store that counts calls of `open`."""

    opened = 0

    @asynccontextmanager
    async def open(self, name: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[OpenObject]:
        self.opened += 1
        async with super().open(name, start=start, length=length) as found:
            yield found


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[CountingStore]:
    store = CountingStore(tmp_path / "objects")
    yield store
    await store.close()


async def archived(store: CountingStore, tmp_path: Path) -> ArchivedLog:
    spool = Spool(tmp_path / "log")
    spool.append(TEXT)
    await archive(spool.path, store, NAME)
    assert digest(spool.path) == (len(TEXT), hashlib.sha256(TEXT).hexdigest())
    assert digest(spool.path, b"\nend\n") == (len(TEXT) + 5, hashlib.sha256(TEXT + b"\nend\n").hexdigest())
    return ArchivedLog(LogBlocks(store, MEMORY_BYTES), NAME, len(TEXT))


async def test_sequential_reading_costs_one_request_per_mebibyte(store: CountingStore, tmp_path: Path) -> None:
    log = await archived(store, tmp_path)

    async def read_to_end(limit_bytes: int) -> bytes:
        got = bytearray()
        while block := await log.read(len(got), limit_bytes):
            got += block
        return bytes(got)

    assert set(await asyncio.gather(read_to_end(64 * 1024), read_to_end(100_000))) == {TEXT}
    assert store.opened == 4
    assert log.complete
    await log.grown_beyond(len(TEXT))
    info = await store.head(NAME)
    assert info is not None
    assert info.content_type == "text/plain; charset=utf-8"


async def test_any_offset_can_be_read(store: CountingStore, tmp_path: Path) -> None:
    log = await archived(store, tmp_path)
    edge = 1024 * 1024
    assert await log.read(edge - 3, 3) == TEXT[edge - 3 : edge]
    assert await log.read(edge, 5) == TEXT[edge : edge + 5]
    assert await log.read(len(TEXT) - 2, 100) == TEXT[-2:]
    assert await log.read(len(TEXT), 100) == b""
    assert await log.read(10**12, 100) == b""


async def test_an_archive_of_another_size_than_recorded_is_an_error(store: CountingStore, tmp_path: Path) -> None:
    await archived(store, tmp_path)
    with pytest.raises(ObjectStoreError, match=r"differs from its record by -1 bytes"):
        await ArchivedLog(LogBlocks(store, MEMORY_BYTES), NAME, len(TEXT) + 1).read(len(TEXT) - 1, 10)
    with pytest.raises(ObjectNotFoundError):
        await ArchivedLog(LogBlocks(store, MEMORY_BYTES), "missing.log", 10).read(0, 10)


def test_the_digest_of_a_missing_spool_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="cannot be read"):
        digest(tmp_path / "gone")


async def test_readers_of_a_log_share_its_blocks(store: CountingStore, tmp_path: Path) -> None:
    await archived(store, tmp_path)
    blocks = LogBlocks(store, MEMORY_BYTES)
    readers = [ArchivedLog(blocks, NAME, len(TEXT)) for _ in range(20)]
    assert len({await reader.read(5, 10) for reader in readers}) == 1
    assert set(await asyncio.gather(*(reader.read(2**20, 10) for reader in readers))) == {TEXT[2**20 : 2**20 + 10]}
    assert store.opened == 2


async def test_the_memory_for_blocks_of_all_logs_is_limited(store: CountingStore, tmp_path: Path) -> None:
    await archived(store, tmp_path)
    blocks = LogBlocks(store, 4 * 1024 * 1024)
    log = ArchivedLog(blocks, NAME, len(TEXT))
    for block in (0, 1, 0, 2, 0):
        assert await log.read(block * 2**20, 1) == TEXT[block * 2**20 :][:1]
    assert store.opened == 3
    await log.read(2**20, 1)
    assert store.opened == 4


async def test_a_deleted_log_does_not_exist(store: CountingStore, tmp_path: Path) -> None:
    log = await archived(store, tmp_path)
    assert await log.exists()
    await store.delete(NAME)
    assert not await log.exists()
