"""Acknowledged offsets: many sinks, few writes, the newest of each after any end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet

from shuttle.errors import StoreError
from shuttle.store.migrate import migrate
from shuttle.store.offsets import AckedOffsets
from shuttle.store.sqlite import SqliteDatabase
from shuttle.store.store import Store
from shuttle.vault import Vault
from tests.clock import SetClock
from tests.shuttle_store import new_build, party

Result = TypeVar("Result")
SINKS = 50


class Counting(SqliteDatabase):
    """Counts what it is asked for, and refuses while it is out of order."""

    asked = 0
    out_of_order = False

    async def run(self, work: Callable[[sa.Connection], Result]) -> Result:
        self.asked += 1
        if self.out_of_order:
            raise StoreError("The disk is full.")
        return await super().run(work)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Counting]:
    opened = Counting(tmp_path / "shuttle.db")
    migrate(opened.engine)
    opened.start()
    yield opened
    await opened.close()


@pytest.fixture
async def store(database: Counting) -> Store:
    """With a build that has many sinks."""
    vault = Vault([Fernet.generate_key().decode()])
    store = Store(database, vault, SetClock(), on_event=lambda: None)
    sinks = [party(vault, f"http://sink-{number}.example.org/") for number in range(SINKS)]
    await store.record(new_build(vault, sinks=sinks), b"request", queue_limit=100)
    return store


async def offsets(store: Store) -> list[int]:
    return [target.acked_offset for target in await store.open_sinks()]


async def test_all_sinks_are_written_together_and_the_newest_of_each_wins(store: Store, database: Counting) -> None:
    sinks = [target.sink_id for target in await store.open_sinks()]
    database.asked = 0
    for offset in range(100):
        for sink_id in sinks:
            await store.acknowledged(sink_id, offset + sink_id)
    await store.close()
    assert database.asked == 1
    assert await offsets(store) == [99 + sink_id for sink_id in sinks]


async def test_they_are_written_without_being_asked_for(store: Store, database: Counting) -> None:
    (first, *_) = await store.open_sinks()
    kept = AckedOffsets(database, every_seconds=0.01)
    kept.note(first.sink_id, 7)
    async with asyncio.timeout(10):
        while (await offsets(store))[0] != 7:
            await asyncio.sleep(0.01)


async def test_the_end_of_a_sink_is_not_taken_back(store: Store) -> None:
    done, gave_up, *_ = [target.sink_id for target in await store.open_sinks()]
    for sink_id in (done, gave_up):
        await store.acknowledged(sink_id, 5)
    await store.done(done, 9)
    await store.gave_up(gave_up, "It is gone.")
    await store.acknowledged(done, 6)
    await store.close()
    (build,) = await store.unfinished()
    _, parties, _ = await store.parties(build.build_uuid)
    assert [(each.state, each.acked_offset) for each in parties[:2]] == [("done", 9), ("gave_up", 5)]


async def test_what_the_database_does_not_take_is_kept(store: Store, database: Counting) -> None:
    (first, second, *_) = await store.open_sinks()
    await store.acknowledged(first.sink_id, 3)
    await store.acknowledged(second.sink_id, 4)
    database.out_of_order = True
    with pytest.raises(StoreError):
        await store.open_sinks()
    await store.acknowledged(second.sink_id, 8)
    database.out_of_order = False
    assert (await offsets(store))[:2] == [3, 8]
