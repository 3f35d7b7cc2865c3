"""Acknowledged offsets: the newest offset of many sinks is written with few transactions."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Concatenate

import pytest
from cryptography.fernet import Fernet

from shuttle.errors import StoreError
from shuttle.store import Parameters, Result, Tx
from shuttle.store.builds import endpoints_and_artifacts
from shuttle.store.offsets import AckedOffsets
from shuttle.store.open_work import open_builds
from shuttle.store.sqlite import SqliteDatabase
from shuttle.store.stored_sinks import StoredSinks
from shuttle.vault import Vault
from tests.support.clock import SetClock
from tests.support.migrated_database import write_migrated_database
from tests.support.shuttle_store import endpoint, new_build, record

SINKS = 50
BUILD = "00000000-0000-4000-8000-000000000001"


class Counting(SqliteDatabase):
    """Counts transactions, and fails while `broken` is set."""

    transactions = 0
    broken = False

    async def run(
        self,
        query: Callable[Concatenate[Tx, Parameters], Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        self.transactions += 1
        if self.broken:
            raise StoreError("The disk is full.")
        return await super().run(query, *args, **kwargs)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Counting]:
    await write_migrated_database(tmp_path / "shuttle.db")
    opened = Counting(tmp_path / "shuttle.db", SetClock())
    yield opened
    await opened.close()


@pytest.fixture
async def ledger(database: Counting) -> StoredSinks:
    """The sinks of one build that has many."""
    vault = Vault([Fernet.generate_key().decode()])
    sinks = [endpoint(vault, f"http://sink-{number}.example.org/") for number in range(SINKS)]
    await record(database, vault, new_build(vault, build_uuid=BUILD, sinks=sinks), queue_limit=100)
    return StoredSinks(database, vault)


async def offsets(ledger: StoredSinks) -> list[int]:
    return [target.acked_offset for target in await ledger.open_sinks([BUILD])]


async def test_newest_offsets_of_all_sinks_are_written_together(ledger: StoredSinks, database: Counting) -> None:
    sinks = [target.sink_id for target in await ledger.open_sinks([BUILD])]
    database.transactions = 0
    for offset in range(100):
        for sink_id in sinks:
            await ledger.acknowledged(sink_id, offset + sink_id)
    await ledger.close()
    assert database.transactions == 1
    assert await offsets(ledger) == [99 + sink_id for sink_id in sinks]


async def test_offsets_are_written_periodically(ledger: StoredSinks, database: Counting) -> None:
    (first, *_) = await ledger.open_sinks([BUILD])
    acked_offsets = AckedOffsets(database, every_seconds=0.01)
    acked_offsets.note(first.sink_id, 7)
    async with asyncio.timeout(10):
        while (await offsets(ledger))[0] != 7:
            await asyncio.sleep(0.01)


async def test_offset_of_an_ended_sink_is_not_overwritten(ledger: StoredSinks, database: Counting) -> None:
    done, gave_up, *_ = [target.sink_id for target in await ledger.open_sinks([BUILD])]
    for sink_id in (done, gave_up):
        await ledger.acknowledged(sink_id, 5)
    await ledger.done(done, 9)
    await ledger.gave_up(gave_up, "It is gone.")
    await ledger.acknowledged(done, 6)
    await ledger.close()
    ((build, _),) = await database.run(open_builds)
    _, endpoints, _ = await database.run(endpoints_and_artifacts, build.build_uuid)
    assert [(each.state, each.acked_offset) for each in endpoints[:2]] == [("done", 9), ("gave_up", 5)]


async def test_offsets_are_kept_while_the_database_fails(ledger: StoredSinks, database: Counting) -> None:
    (first, second, *_) = await ledger.open_sinks([BUILD])
    await ledger.acknowledged(first.sink_id, 3)
    await ledger.acknowledged(second.sink_id, 4)
    database.broken = True
    with pytest.raises(StoreError):
        await ledger.open_sinks([BUILD])
    await ledger.acknowledged(second.sink_id, 8)
    database.broken = False
    assert (await offsets(ledger))[:2] == [3, 8]
