"""The log of a running build: commits, an unavailable database, a full disk, and the recorded checksum."""

import asyncio
import hashlib
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from shuttle.errors import StoreError, UnavailableError
from shuttle.lifecycle.build_log import BuildLog
from shuttle.logs import LogRules
from shuttle.logs.mask import Masker
from shuttle.logs.spool import Spool
from shuttle.logs.writer import LogWriter
from shuttle.store.claims import Claim

MAIN = Claim(1, "uuid", "", "n", "s", "r", True, None, None, None, None)
PREAMBLE = b"-----> Source\n"


class FakeDatabase:
    """Runs the only query of a BuildLog; it can be unavailable, or hang until `free` is set."""

    def __init__(self) -> None:
        self.recorded: list[int] = []
        self.away = False
        self.free = asyncio.Event()
        self.free.set()

    async def run(self, _query: object, _build_uuid: str, _segments: object, at: Any, _places: object) -> None:
        await self.free.wait()
        if self.away:
            raise StoreError("the database is away")
        self.recorded.append(at.log_offset)


@pytest.fixture
def database() -> FakeDatabase:
    return FakeDatabase()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "log")
    spool.append(PREAMBLE)
    return spool


@pytest.fixture
def opened(spool: Spool, database: FakeDatabase) -> Callable[..., BuildLog]:
    def build_log(on_broken: Callable[[], None] = lambda: None) -> BuildLog:
        rules = LogRules()
        writer = LogWriter(spool, rules, Masker(()), preamble_bytes=len(PREAMBLE), checkpoint=None, segments=())
        calls = {"app_id": "app", "on_broken": on_broken, "on_lost": lambda: None}
        return BuildLog("uuid", writer, spool, database, claims=[MAIN], context=copy_context(), **calls)  # type: ignore[arg-type]

    return build_log


async def test_readers_see_bytes_after_their_commit(opened, spool: Spool, database: FakeDatabase):
    log = opened()
    database.free.clear()
    log.take(MAIN, "main", 0, b"one\n")
    await asyncio.sleep(0)
    assert spool.size_bytes == len(PREAMBLE)
    database.free.set()
    async with asyncio.timeout(5):
        await spool.grown_beyond(len(PREAMBLE))
    assert database.recorded == [len(PREAMBLE) + 4]


async def test_pushes_during_a_commit_share_the_next_one(opened, spool: Spool, database: FakeDatabase):
    log = opened()
    database.free.clear()
    for at in range(100):
        log.take(MAIN, "main", at * 2, b"x\n")
        await asyncio.sleep(0)
    database.free.set()
    await log.end_stream(MAIN, "main")
    assert spool.size_bytes == len(PREAMBLE) + 200
    assert len(database.recorded) == 2


async def test_the_end_of_a_fast_log_does_not_wait_for_the_pause_between_commits(
    opened, spool: Spool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shuttle.lifecycle.log_commits._COMMIT_PAUSE_SECONDS", 3600)
    log = opened()
    log.take(MAIN, "main", 0, b"0123456789012345678\n" * 10_000)
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await log.end_stream(MAIN, "main")
    assert spool.size_bytes == len(PREAMBLE) + 200_000


async def test_an_unavailable_database_delays_the_log_and_loses_nothing(opened, spool: Spool, database: FakeDatabase):
    log = opened()
    database.away = True
    log.take(MAIN, "main", 0, b"one\n")
    await asyncio.sleep(0.05)
    assert spool.size_bytes == len(PREAMBLE)
    database.away = False
    await log.end_stream(MAIN, "main")
    assert spool.path.read_bytes() == PREAMBLE + b"one\n"


async def test_the_end_of_a_stream_is_not_acknowledged_before_its_commit(
    opened, database: FakeDatabase, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shuttle.lifecycle.build_log._DURABLE_SECONDS", 0.05)
    log = opened()
    database.free.clear()
    log.take(MAIN, "main", 0, b"one\n")
    with pytest.raises(UnavailableError, match="in time"):
        await log.end_stream(MAIN, "main")
    monkeypatch.setattr("shuttle.lifecycle.build_log._DURABLE_SECONDS", 20)
    database.free.set()
    await log.end_stream(MAIN, "main")


async def test_a_full_disk_is_reported_once_and_later_bytes_are_dropped(
    opened, spool: Spool, monkeypatch: pytest.MonkeyPatch
):
    reports: list[bool] = []
    log = opened(lambda: reports.append(True))
    log.take(MAIN, "main", 0, b"fits\n")
    await log.wait_for_room()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", full)
        assert log.take(MAIN, "main", 5, b"does not\n") == 14
    assert log.take(MAIN, "main", 14, b"nor this\n") == 23
    assert reports == [True]
    assert log.broken is not None
    await log.end_stream(MAIN, "main")
    await log.close()
    final = await log.final(["-----> The disk is full.\n"])
    assert final.size_bytes == len(PREAMBLE + b"fits\n-----> The disk is full.\n")


async def test_the_final_checksum_covers_the_whole_log_with_its_last_lines(opened, spool: Spool):
    log = opened()
    log.take(MAIN, "main", 0, b"an unfinished line")
    await log.close()
    for _ in range(2):
        final = await log.final(["words of Jenkins\n", "-----> It failed.\n"])
        whole = spool.path.read_bytes() + final.ending.encode()
        assert whole == PREAMBLE + b"an unfinished line\nwords of Jenkins\n-----> It failed.\n"
        assert (final.size_bytes, final.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert log.take(MAIN, "main", 18, b"late\n") == 23
    assert spool.path.read_bytes() == PREAMBLE + b"an unfinished line"


async def test_a_reason_line_written_by_the_pipeline_is_not_repeated(opened):
    log = opened()
    log.take(MAIN, "main", 0, b"-----> No Dockerfile.\nbye\n")
    await log.close()
    assert (await log.final(["-----> No Dockerfile.\n"])).ending == ""


async def test_an_unfinished_line_is_shown_after_a_while(opened, spool: Spool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shuttle.lifecycle.build_log._UNFINISHED_SECONDS", 0.01)
    log = opened()
    log.take(MAIN, "main", 0, b"...")
    async with asyncio.timeout(5):
        await spool.grown_beyond(len(PREAMBLE))
    log.take(MAIN, "main", 3, b".")
    async with asyncio.timeout(5):
        await spool.grown_beyond(len(PREAMBLE) + 3)
    assert spool.path.read_bytes() == PREAMBLE + b"...."
    log.lose()
