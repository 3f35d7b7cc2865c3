"""The spool: one writer, readers with offsets of their own, and errors of a failing disk."""

import asyncio
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from shuttle.errors import ShuttleError
from shuttle.logs import LogReader
from shuttle.logs.spool import ENDING_BYTES, Spool, SpoolError


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "log")


async def read_to_end(log: LogReader, limit_bytes: int = 1000) -> bytes:
    got = b""
    while True:
        block = await log.read(len(got), limit_bytes)
        got += block
        if not block:
            if log.complete:
                return got
            await log.grown_beyond(len(got))


@pytest.mark.parametrize("how", [Spool.truncate, Spool.hide])
def test_a_log_that_loses_bytes_is_no_longer_complete(spool: Spool, how: Callable[[Spool, int], None]) -> None:
    """Before, a restored log ended for its sinks without its last line."""
    spool.append(b"one\ntwo\n")
    spool.end()
    how(spool, 8)
    assert spool.complete
    how(spool, 4)
    assert (spool.size_bytes, spool.complete) == (4, False)


@pytest.mark.slow
async def test_readers_get_every_byte_of_a_growing_spool_and_its_end(spool: Spool) -> None:
    readers = [asyncio.ensure_future(read_to_end(spool, limit)) for limit in (7, 1000, 100_000)]
    text = [b"line %d\n" % number * (number % 50) for number in range(200)]
    for line in text:
        spool.append(line)
        await asyncio.sleep(0)
    spool.end()
    spool.end()
    assert set(await asyncio.gather(*readers)) == {b"".join(text)}
    assert spool.size_bytes == len(b"".join(text))
    assert spool.ending() == b"".join(text)[-ENDING_BYTES:]


async def test_a_reader_waits_until_the_spool_grows_beyond_its_offset(spool: Spool) -> None:
    assert spool.ending() == b""
    waiting = asyncio.ensure_future(spool.grown_beyond(5))
    spool.append(b"12345")
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    spool.append(b"6")
    await asyncio.wait_for(waiting, 10)
    await asyncio.wait_for(spool.grown_beyond(5), 10)
    assert await spool.read(5, 10) == b"6"
    assert await spool.read(6, 10) == b""
    assert await spool.read(99, 10) == b""


async def test_a_cancelled_reader_is_removed_from_the_waiting_ones(spool: Spool) -> None:
    waiting = asyncio.ensure_future(spool.grown_beyond(0))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not spool._waiting
    spool.append(b"x")


async def test_readers_ahead_of_a_truncated_spool_wait_for_the_same_bytes(tmp_path: Path) -> None:
    first = Spool(tmp_path / "log")
    first.append(b"checkpoint|torn")
    await first.sync()
    again = Spool(tmp_path / "log")
    assert again.size_bytes == 15
    again.truncate(11)
    ahead = asyncio.ensure_future(again.grown_beyond(13))
    again.append(b"to")
    await asyncio.sleep(0)
    assert not ahead.done()
    again.append(b"rn and on")
    await ahead
    assert await again.read(0, 100) == b"checkpoint|torn and on"
    with pytest.raises(SpoolError, match="cannot be cut at 1000"):
        again.truncate(1000)


async def test_bytes_outside_of_the_page_cache_are_read_in_a_thread(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing_cached(*_args: object) -> int:
        raise BlockingIOError(errno.EAGAIN, "would block")

    spool.append(b"0123456789")
    monkeypatch.setattr(os, "preadv", nothing_cached)
    assert await spool.read(3, 4) == b"3456"


async def test_a_full_disk_adds_nothing_and_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spool = Spool(tmp_path / "log")
    spool.append(b"kept\n")
    really_write = os.pwrite

    def until_full(file: int, text: memoryview, offset: int) -> int:
        if offset >= 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return really_write(file, text[: 8 - offset], offset)

    monkeypatch.setattr(os, "pwrite", until_full)
    with pytest.raises(SpoolError, match=r"No space left on device.*SHUTTLE_DATA_DIR") as refused:
        spool.append(b"torn line\n")
    assert isinstance(refused.value, ShuttleError)
    assert refused.value.code == "spool_unwritable"
    monkeypatch.undo()
    assert spool.size_bytes == 5
    assert Spool(tmp_path / "log").size_bytes == 5
    spool.append(b"again\n")
    assert await spool.read(0, 100) == b"kept\nagain\n"


def test_a_spool_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="opened"):
        Spool(tmp_path / "missing" / "log")


async def test_the_file_is_private_and_readable_after_its_removal(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "log")
    assert stat.S_IMODE(spool.path.stat().st_mode) == 0o600
    spool.append(b"still here\n")
    spool.end()
    spool.path.unlink()
    assert await read_to_end(spool) == b"still here\n"


def test_the_file_is_closed_with_the_last_reference(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "log")
    file = spool._file
    del spool
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)
