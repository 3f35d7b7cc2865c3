"""The log of a build whose app has another owner, or has had one meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from shuttle.build import Build, State
from shuttle.errors import NotOwnerError, StoreError
from shuttle.lease import Lease
from shuttle.lifecycle import build_logs, replica_log
from shuttle.lifecycle.replica_log import ReplicaLog
from shuttle.logs import LogReader
from shuttle.objects.names import log_object
from shuttle.store.fence import Ownership
from shuttle.store.request_time import limited_request
from shuttle.store.tables import builds
from shuttle.web import SERVICES
from shuttle.web.peers import get_log
from tests.unit.lifecycle.one_build import OneBuild, one_build

HERE = b"-----> Source\none\n"
WHOLE = HERE + b"two\n"


@pytest_asyncio.fixture
async def one(tmp_path: Path) -> AsyncIterator[OneBuild]:
    """A build whose log is kept in the object store, as beside PostgreSQL."""
    async with one_build(tmp_path, True) as recorded:
        yield recorded


async def written_here(one: OneBuild) -> Build:
    """A running build whose log has the bytes HERE."""
    build = await one.running()
    build_log = await one.services.logs.open(one.build_uuid)
    assert build_log is not None
    build_log.take(build_log.claims[0], "main", 0, b"one\n")
    reader = await one.services.logs.reader(build)
    await reader.grown_beyond(len(HERE) - 1)
    return build


async def archived_by_another_replica(one: OneBuild, folder: Path) -> None:
    """The app is lost; its new owner writes the rest of the log and archives it; then the app comes back."""
    mine = one.services.owned.ownership("app")
    assert mine is not None
    one.services.owned.drop("app")
    (folder / "whole").write_bytes(WHOLE)
    await one.services.objects.put(log_object(one.build_uuid), folder / "whole", content_type="text/plain")
    ended = {"state": State.SUCCEEDED.value, "log_bytes": len(WHOLE), "archived_at": one.clock.now()}
    await one.database.run(lambda tx: tx.execute(builds.update().values(ended)))
    one.services.owned.add(Ownership("app", mine.epoch + 2))


async def rest_of(reader: LogReader) -> bytes:
    await reader.grown_beyond(len(HERE))
    assert reader.complete
    return await reader.read(len(HERE), 100)


async def test_a_log_that_was_archived_while_the_app_was_away_is_sent_from_its_archive(one: OneBuild, tmp_path: Path):
    """Before, it was read from the unfinished spool, so the receiver waited for its end forever."""
    await written_here(one)
    await archived_by_another_replica(one, tmp_path)
    assert await rest_of(await one.services.logs.reader(await one.row())) == b"two\n"


async def test_a_reader_finds_the_end_of_a_log_that_was_archived_while_the_app_was_away(one: OneBuild, tmp_path: Path):
    """Before, the reader kept the unfinished spool when the app came back between two of its questions."""
    reader = ReplicaLog(await written_here(one), one.services)
    await reader.refresh()
    assert await reader.read(0, 100) == HERE
    await archived_by_another_replica(one, tmp_path)
    assert await rest_of(reader) == b"two\n"


async def until_waited_for(one: OneBuild) -> None:
    """Wait until a reader waits for more bytes of the spool."""
    while not one.services.library.spool(one.build_uuid)._waiting:
        await asyncio.sleep(0)


async def test_another_replica_that_waits_for_more_is_answered_as_soon_as_the_app_is_lost(one: OneBuild):
    await written_here(one)
    app = web.Application()
    app[SERVICES] = one.services
    path, build = f"/log?offset={len(HERE)}&limit=100&wait=10", {"build_uuid": one.build_uuid}
    waiting = asyncio.ensure_future(get_log(make_mocked_request("GET", path, match_info=build, app=app)))
    await until_waited_for(one)
    one.services.owned.drop("app")
    async with asyncio.timeout(5):
        with pytest.raises(NotOwnerError):
            await waiting


async def test_a_reader_that_waits_for_more_follows_the_log_as_soon_as_the_app_is_lost(one: OneBuild, tmp_path: Path):
    """Before, it waited for 10 s for bytes that another replica had already written."""
    reader = ReplicaLog(await written_here(one), one.services)
    await reader.refresh()
    waiting = asyncio.create_task(reader.grown_beyond(len(HERE)))
    await until_waited_for(one)
    async with asyncio.timeout(5):
        await archived_by_another_replica(one, tmp_path)
        await waiting
    assert await reader.read(len(HERE), 100) == b"two\n"


async def test_a_follower_is_not_held_for_ever_by_a_replica_that_lost_the_app(
    one: OneBuild, monkeypatch: pytest.MonkeyPatch
):
    """Each of its waits is shorter than the time for which a reader is held while an app changes hands."""
    monkeypatch.setattr(replica_log, "_LONGEST_CHANGE_SECONDS", 0.1)
    monkeypatch.setattr(replica_log, "_RETRY_SECONDS", 0.01)
    reader = ReplicaLog(await written_here(one), one.services)
    await reader.refresh()
    one.services.owned.drop("app")
    async with asyncio.timeout(5):
        with pytest.raises(NotOwnerError):
            await followed_with_limits(reader, 0.05)


async def test_a_follower_is_not_held_for_ever_by_a_replica_without_lease(
    one: OneBuild, monkeypatch: pytest.MonkeyPatch
):
    """It has lost the database, so it does not know that another replica has taken the app and writes the log now."""
    monkeypatch.setattr(replica_log, "_LONGEST_CHANGE_SECONDS", 0.1)
    monkeypatch.setattr(replica_log, "WAIT_SECONDS", 0.01)
    monkeypatch.setattr(replica_log, "_RETRY_SECONDS", 0.01)
    reader = ReplicaLog(await written_here(one), replace(one.services, lease=Lease(12)))
    await reader.refresh()
    assert await reader.read(0, 100) == HERE
    async with asyncio.timeout(5):
        with pytest.raises(NotOwnerError):
            await followed_with_limits(reader, 1)


async def test_a_reader_is_answered_503_in_time_while_the_database_does_not_answer(
    one: OneBuild, monkeypatch: pytest.MonkeyPatch
):
    """Before, it waited for 30 s, as for an app that changes hands."""
    reader = ReplicaLog(await written_here(one), one.services)

    async def unanswered(*_: object) -> None:
        raise StoreError("The database does not answer.")

    with limited_request():
        monkeypatch.setattr(one.services.database, "run", unanswered)
        async with asyncio.timeout(5):
            with pytest.raises(StoreError):
                await reader.refresh()


async def followed_with_limits(reader: LogReader, seconds: float) -> None:
    """Wait for more after HERE again and again, each time for at most so many seconds."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await reader.grown_beyond(len(HERE))


async def test_a_log_does_not_stay_open_whose_app_is_lost_while_it_is_opened(
    one: OneBuild, monkeypatch: pytest.MonkeyPatch
):
    """Before, it took what agents pushed, and wrote it into the spool when the app had come back."""
    await one.running()
    read_newest = build_logs._read_newest

    def lose_meanwhile(*arguments: Any) -> Any:
        one.services.owned.drop("app")
        return read_newest(*arguments)

    monkeypatch.setattr(build_logs, "_read_newest", lose_meanwhile)
    with pytest.raises(NotOwnerError):
        await one.services.logs.open(one.build_uuid)
    assert one.services.logs.find(one.build_uuid) is None


async def test_a_log_that_was_open_in_an_earlier_epoch_writes_nothing_into_the_restored_spool(one: OneBuild):
    """Another replica has had the app for so short a time that this one did not notice.

    Before, what the agent sent next was written at offset 0, where the lines about the source had been, and receivers
    got these bytes.
    """
    build = await one.running()
    mine, stale = one.services.owned.ownership("app"), await one.services.logs.open(one.build_uuid)
    assert mine is not None
    assert stale is not None
    one.services.owned.add(Ownership("app", mine.epoch + 2))
    reader = await one.services.logs.reader(build)
    stale.take(stale.claims[0], "main", 0, b"one\n")
    assert stale.lost
    opened = await one.services.logs.open(one.build_uuid)
    assert opened is not None
    assert opened.take(opened.claims[0], "main", 0, b"one\n") == 4
    await reader.grown_beyond(len(HERE) - 1)
    assert await reader.read(0, 100) == HERE
