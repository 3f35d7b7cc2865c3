"""A directory of objects on a disk without room: nothing half-written stays, what was there stays whole."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shuttle.errors import ObjectStoreError
from shuttle.objects.directory import DirectoryStore

LIMIT_BYTES = 1024 * 1024


@contextmanager
def files_limited() -> Iterator[None]:
    """No file of this process grows beyond LIMIT_BYTES."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_an_object_that_finds_no_room(tmp_path: Path):
    root = tmp_path / "objects"
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"small")
    large.write_bytes(bytes(2 * LIMIT_BYTES))
    store = DirectoryStore(root)
    await store.put("u1", small, content_type="text/plain")
    before = sorted(root.rglob("*"))
    with files_limited(), pytest.raises(ObjectStoreError, match="give it room"):
        await store.put("u1", large, content_type="application/gzip")
    assert sorted(root.rglob("*")) == before
    async with store.open("u1") as opened:
        assert (opened.content_type, [chunk async for chunk in opened.chunks]) == ("text/plain", [b"small"])
    await store.put("u1", large, content_type="application/gzip")
    info = await store.head("u1")
    assert info is not None
    assert info.size_bytes == 2 * LIMIT_BYTES
    await store.close()
