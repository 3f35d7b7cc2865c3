"""Bodies use a bounded amount of memory: larger ones are kept on the disk, and reading them waits for memory."""

import asyncio
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from shuttle.errors import BusyError, LocalDiskError
from shuttle.web.body_room import MEMORY_OF_A_BODY_BYTES, BodyBuffer, BodyRoom

MIB = 1024 * 1024


def room(folder: Path, *, memory_bytes: int = 8 * MIB, disk_bytes: int = 8 * MIB) -> BodyRoom:
    return BodyRoom(memory_bytes=memory_bytes, disk_bytes=disk_bytes, folder=folder)


@pytest.fixture
def make() -> Iterator[Callable[[BodyRoom], BodyBuffer]]:
    """Buffers that are closed after the test."""
    with ExitStack() as stack:
        yield lambda space: stack.enter_context(closing(BodyBuffer(space)))


async def whole(buffer: BodyBuffer) -> bytes:
    async with buffer.reading() as body:
        return body[:]


@pytest.mark.parametrize(("size_bytes", "on_disk"), [(MEMORY_OF_A_BODY_BYTES, 0), (MEMORY_OF_A_BODY_BYTES + 1, 1)])
async def test_body_above_1_mib_is_kept_on_the_disk(tmp_path, make, size_bytes: int, on_disk: int):
    space = room(tmp_path)
    buffer = make(space)
    content = bytes(range(256)) * (size_bytes // 256) + b"x" * (size_bytes % 256)
    for start in range(0, size_bytes, 100_000):
        await buffer.add(content[start : start + 100_000])
    assert space.disk_left_bytes == 8 * MIB - on_disk * size_bytes
    assert space.memory_left_bytes == 8 * MIB - (1 - on_disk) * size_bytes
    assert await whole(buffer) == content
    buffer.close()
    assert (space.memory_left_bytes, space.disk_left_bytes) == (8 * MIB, 8 * MIB)
    assert list(tmp_path.iterdir()) == []


async def test_short_body_is_kept_on_the_disk_when_no_memory_is_left(tmp_path, make):
    space = room(tmp_path, memory_bytes=100)
    first, second = make(space), make(space)
    await first.add(b"x" * 60)
    await second.add(b"y" * 40)
    await second.add(b"z")
    assert (space.memory_left_bytes, space.disk_left_bytes) == (40, 8 * MIB - 41)
    first.close()
    assert await whole(second) == b"y" * 40 + b"z"


async def test_body_is_refused_when_no_disk_space_is_left_for_bodies(tmp_path, make):
    space = room(tmp_path, memory_bytes=1, disk_bytes=100)
    buffer = make(space)
    await buffer.add(b"x" * 100)
    with pytest.raises(BusyError, match="SHUTTLE_BODY_DISK_BYTES"):
        await buffer.add(b"x")
    buffer.close()
    assert space.disk_left_bytes == 100


async def test_large_body_waits_until_another_one_returns_its_memory(tmp_path, make):
    space = room(tmp_path, memory_bytes=4 * MIB)
    buffers = [make(space) for _ in range(3)]
    for buffer in buffers:
        await buffer.add(b"x" * 2 * MIB)
    async with buffers[0].reading():
        async with buffers[1].reading():
            third = asyncio.create_task(whole(buffers[2]))
            await asyncio.wait([third], timeout=0.05)
            assert not third.done()
        assert len(await third) == 2 * MIB


async def test_large_body_is_refused_when_memory_stays_used_up(tmp_path, make, monkeypatch):
    monkeypatch.setattr("shuttle.web.body_room._LONGEST_WAIT_SECONDS", 0.05)
    space = room(tmp_path, memory_bytes=MIB)
    first, second = make(space), make(space)
    await first.add(b"x" * (MIB - 1))
    await second.add(b"x" * 2)
    with pytest.raises(BusyError, match="SHUTTLE_BODY_MEMORY_BYTES"):
        await whole(second)
    first.close()
    assert await whole(second) == b"xx"


async def test_body_larger_than_the_whole_memory_limit_is_read(tmp_path, make):
    buffer = make(room(tmp_path, memory_bytes=MIB))
    await buffer.add(b"x" * 3 * MIB)
    assert len(await whole(buffer)) == 3 * MIB


async def add_until_it_fails(buffer: BodyBuffer) -> None:
    while True:
        await buffer.add(b"x" * 5000)


async def test_body_returns_memory_and_disk_space_when_the_disk_is_full(tmp_path: Path):
    space = room(tmp_path)
    buffer = BodyBuffer(space)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, hard))
    try:
        with pytest.raises(LocalDiskError):
            await add_until_it_fails(buffer)
        buffer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (space.memory_left_bytes, space.disk_left_bytes) == (8 * MIB, 8 * MIB)
