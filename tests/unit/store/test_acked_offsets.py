"""Acknowledged offsets: many sinks, few writes, the newest of each after any end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Concatenate

import pytest
from cryptography.fernet import Fernet

from shuttle.errors import StoreError
from shuttle.store import Parameters, Result, Tx
from shuttle.store.builds import parties_of, unfinished_builds
from shuttle.store.offsets import AckedOffsets
from shuttle.store.sqlite import SqliteDatabase
from shuttle.store.stored_sinks import StoredSinks
from shuttle.vault import Vault
from tests.clock import SetClock
from tests.shuttle_store import new_build, party, record

SINKS = 50


class Counting(SqliteDatabase):
    """Counts what it is asked for, and refuses while it is out of order."""

    asked = 0
    out_of_order = False

    async def run(
        self,
        query: Callable[Concatenate[Tx, Parameters], Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        self.asked += 1
        if self.out_of_order:
            raise StoreError("The disk is full.")
        return await super().run(query, *args, **kwargs)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Counting]:
    opened = Counting(tmp_path / "shuttle.db", SetClock())
    await opened.migrate()
    yield opened
    await opened.close()


@pytest.fixture
async def ledger(database: Counting) -> StoredSinks:
    """With a build that has many sinks."""
    vault = Vault([Fernet.generate_key().decode()])
    sinks = [party(vault, f"http://sink-{number}.example.org/") for number in range(SINKS)]
    await record(database, vault, new_build(vault, sinks=sinks), queue_limit=100)
    return StoredSinks(database, vault)


async def offsets(ledger: StoredSinks) -> list[int]:
    return [target.acked_offset for target in await ledger.open_sinks()]


async def test_all_sinks_are_written_together_and_the_newest_of_each_wins(
    ledger: StoredSinks, database: Counting
) -> None:
    sinks = [target.sink_id for target in await ledger.open_sinks()]
    database.asked = 0
    for offset in range(100):
        for sink_id in sinks:
            await ledger.acknowledged(sink_id, offset + sink_id)
    await ledger.close()
    assert database.asked == 1
    assert await offsets(ledger) == [99 + sink_id for sink_id in sinks]


async def test_they_are_written_without_being_asked_for(ledger: StoredSinks, database: Counting) -> None:
    (first, *_) = await ledger.open_sinks()
    kept = AckedOffsets(database, every_seconds=0.01)
    kept.note(first.sink_id, 7)
    async with asyncio.timeout(10):
        while (await offsets(ledger))[0] != 7:
            await asyncio.sleep(0.01)


async def test_the_end_of_a_sink_is_not_taken_back(ledger: StoredSinks, database: Counting) -> None:
    done, gave_up, *_ = [target.sink_id for target in await ledger.open_sinks()]
    for sink_id in (done, gave_up):
        await ledger.acknowledged(sink_id, 5)
    await ledger.done(done, 9)
    await ledger.gave_up(gave_up, "It is gone.")
    await ledger.acknowledged(done, 6)
    await ledger.close()
    (build,) = await database.run(unfinished_builds)
    _, parties, _ = await database.run(parties_of, build.build_uuid)
    assert [(each.state, each.acked_offset) for each in parties[:2]] == [("done", 9), ("gave_up", 5)]


async def test_what_the_database_does_not_take_is_kept(ledger: StoredSinks, database: Counting) -> None:
    (first, second, *_) = await ledger.open_sinks()
    await ledger.acknowledged(first.sink_id, 3)
    await ledger.acknowledged(second.sink_id, 4)
    database.out_of_order = True
    with pytest.raises(StoreError):
        await ledger.open_sinks()
    await ledger.acknowledged(second.sink_id, 8)
    database.out_of_order = False
    assert (await offsets(ledger))[:2] == [3, 8]
