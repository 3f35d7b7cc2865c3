"""The object store in a directory: hard links instead of copies, and a full disk."""

import asyncio
import errno
import os
import resource
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shuttle.errors import ObjectStoreError
from shuttle.objects.directory import DirectoryStore

LIMIT_BYTES = 1024 * 1024


@contextmanager
def files_limited() -> Iterator[None]:
    """Limit the files that this process writes to LIMIT_BYTES."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def stored(store: DirectoryStore, name: str) -> bytes:
    async with store.open(name) as opened:
        return b"".join([chunk async for chunk in opened.chunks])


async def test_full_disk_leaves_the_old_object_unchanged(tmp_path: Path):
    root = tmp_path / "objects"
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"small")
    large.write_bytes(bytes(2 * LIMIT_BYTES))
    store = DirectoryStore(root)
    await store.put("u1", small, content_type="text/plain")
    before = sorted(root.rglob("*"))
    copied = tmp_path / "link"
    copied.symlink_to(large)
    with files_limited(), pytest.raises(ObjectStoreError, match="free disk space"):
        await store.put("u1", copied, content_type="application/gzip")
    assert sorted(root.rglob("*")) == before
    async with store.open("u1") as opened:
        assert (opened.content_type, [chunk async for chunk in opened.chunks]) == ("text/plain", [b"small"])
    await store.put("u1", large, content_type="application/gzip")
    info = await store.head("u1")
    assert info is not None
    assert info.size_bytes == 2 * LIMIT_BYTES
    await store.close()


async def test_file_on_the_same_disk_is_hard_linked_and_may_be_deleted(tmp_path: Path):
    store = DirectoryStore(tmp_path / "objects")
    file = tmp_path / "log"
    file.write_bytes(b"a log")
    for _ in range(2):  # a process may be killed after the first put and before it is recorded
        await store.put("u1.log", file, content_type="text/plain")
    assert store.path_of("u1.log").samefile(file)
    file.unlink()
    assert await stored(store, "u1.log") == b"a log"
    assert not list((tmp_path / "objects" / "=incoming").iterdir())
    await store.close()


def refused(*_: object) -> None:
    raise OSError(errno.EXDEV, "Invalid cross-device link")


@pytest.mark.parametrize("reason", ["another disk", "a symbolic link"])
async def test_file_that_cannot_be_hard_linked_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str):
    file = tmp_path / "log"
    file.write_bytes(b"a log")
    if reason == "another disk":
        monkeypatch.setattr(Path, "hardlink_to", refused)
    else:
        (tmp_path / "link").symlink_to(file)
        file = tmp_path / "link"
    store = DirectoryStore(tmp_path / "objects")
    await store.put("u1.log", file, content_type="text/plain")
    file.write_bytes(b"changed")
    assert await stored(store, "u1.log") == b"a log"
    await store.close()


async def test_old_file_being_stored_is_not_removed_as_abandoned(tmp_path: Path):
    store = DirectoryStore(tmp_path / "objects")
    file = tmp_path / "log"
    file.write_bytes(b"a log")
    await store.put("u1.log", file, content_type="text/plain")
    os.utime(file, (0, 0))
    being_stored = tmp_path / "objects" / "=incoming" / "of-another-process"
    being_stored.hardlink_to(file)
    await store.put("u2.log", file, content_type="text/plain")
    assert being_stored.exists()
    await store.close()


async def test_closed_store_creates_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    began, may_continue = threading.Event(), threading.Event()
    make = Path.mkdir

    def held(path: Path, *arguments: Any, **options: Any) -> None:
        began.set()
        may_continue.wait(10)
        make(path, *arguments, **options)

    file = tmp_path / "log"
    file.write_bytes(b"a log")
    monkeypatch.setattr(Path, "mkdir", held)
    store = DirectoryStore(tmp_path / "data" / "objects")
    putting = asyncio.create_task(store.put("u1.log", file, content_type="text/plain"))
    await asyncio.to_thread(began.wait, 10)
    putting.cancel()
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("objects")]
    asyncio.get_running_loop().call_later(0.1, may_continue.set)
    await store.close()
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert not (tmp_path / "data").exists()
