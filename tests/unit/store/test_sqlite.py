"""The SQLite file: it can be reopened, is used by one process, and deletions use indexes."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from shuttle.build import State
from shuttle.errors import OutcomeUnknownError, SettingsError, StoreError
from shuttle.store import Tx
from shuttle.store.builds import find_build
from shuttle.store.open_work import open_builds
from shuttle.store.probe import prove_writable
from shuttle.store.request_time import end_limit, limited_request
from shuttle.store.retain import drop_record
from shuttle.store.sqlite import SqliteDatabase
from tests.support.clock import SetClock
from tests.support.shuttle_store import endpoint, new_build, open_database, record


@pytest.fixture
async def database(tmp_path: Path):
    async with open_database(tmp_path) as opened:
        yield opened


async def test_records_survive_reopening(tmp_path: Path, vault):
    async with open_database(tmp_path) as database:
        build = (await record(database, vault, new_build(vault))).build
    async with open_database(tmp_path) as database:
        assert (await database.run(find_build, build.build_uuid)).state is State.RECORDED
        assert [found.build.build_uuid for found in await database.run(open_builds)] == [build.build_uuid]


async def test_second_shuttle_on_the_same_file_is_refused(tmp_path: Path):
    async with open_database(tmp_path):
        with pytest.raises(SettingsError, match="Another shuttle"):
            SqliteDatabase(tmp_path / "shuttle.db", SetClock())


async def test_closed_database_raises_store_error(tmp_path: Path):
    async with open_database(tmp_path) as database:
        pass
    with pytest.raises(StoreError):
        await database.run(prove_writable)


@pytest.fixture
def locked(tmp_path: Path, database: SqliteDatabase) -> Iterator[sqlite3.Connection]:
    """The connection of another program that has locked the database; a rollback unlocks it."""
    connection = sqlite3.connect(tmp_path / "shuttle.db", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield connection
    connection.close()


async def test_waiting_transactions_wait_for_a_lock_together(database, locked):
    """Before, each waited for its own time after the others had waited for theirs."""
    locked.rollback()
    await database.run(lambda tx: tx.execute(sa.text("PRAGMA busy_timeout=200")))
    locked.execute("BEGIN IMMEDIATE")
    began_at = time.monotonic()
    results = await asyncio.gather(*(database.run(prove_writable) for _ in range(60)), return_exceptions=True)
    assert {type(result) for result in results} == {StoreError}
    assert time.monotonic() - began_at < 6, "one after the other they wait for 12 s"


async def test_transaction_that_a_request_no_longer_waits_for_is_not_executed(
    database, locked, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shuttle.store.request_time.REQUEST_SECONDS", 0.1)
    executed: list[str] = []
    with limited_request(), pytest.raises(StoreError, match="in time") as caught:
        await database.run(lambda _: executed.append("of the request"))
    assert type(caught.value) is StoreError
    locked.rollback()
    await database.run(lambda _: executed.append("later"))
    assert executed == ["later"]


async def test_outcome_of_a_transaction_that_a_request_no_longer_waits_for_is_unknown_once_it_has_begun(
    database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shuttle.store.request_time.REQUEST_SECONDS", 0.1)
    given_up = threading.Event()
    with limited_request(), pytest.raises(OutcomeUnknownError, match="in time"):
        await database.run(lambda _: given_up.wait(10))
    given_up.set()


async def test_transactions_after_the_begin_of_a_response_have_no_limit(database, monkeypatch: pytest.MonkeyPatch):
    """A reader may follow a log for hours."""
    monkeypatch.setattr("shuttle.store.request_time.REQUEST_SECONDS", 0)
    with limited_request():
        with pytest.raises(StoreError, match="too slow"):
            await database.run(prove_writable)
        end_limit()
        await database.run(prove_writable)


async def test_task_that_outlives_its_request_has_no_limit(database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shuttle.store.request_time.REQUEST_SECONDS", 0)
    answered = asyncio.Event()

    async def task() -> None:
        await answered.wait()
        await database.run(prove_writable)

    with limited_request():
        outliving = asyncio.create_task(task())
    answered.set()
    await outliving


async def test_dropping_a_record_scans_no_table(database, vault):
    """With 300,000 deliveries, dropping a record took 417 ms when it scanned a table."""
    plans: list[str] = []

    def explain(connection, _cursor, statement, parameters, _context, _many) -> None:
        if statement.startswith("DELETE"):
            raw = connection.connection.driver_connection
            plans.extend(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    build = (
        await record(database, vault, new_build(vault, receivers=[endpoint(vault, "http://r.example/hook")]))
    ).build
    sa.event.listen(database._engine, "before_cursor_execute", explain)
    await database.run(drop_record, build.build_uuid)
    assert await database.run(find_build, build.build_uuid) is None
    assert plans
    assert [plan for plan in plans if plan.startswith("SCAN")] == []


async def test_every_foreign_key_has_an_index(database):
    """For each deleted row SQLite searches rows that refer to it; without an index on the column it scans the table."""

    def scanned(tx: Tx) -> list[str]:
        inspector, found = sa.inspect(tx.connection), []
        for table in inspector.get_table_names():
            indexes = [each["column_names"][0] for each in inspector.get_indexes(table) if not _is_partial(each)]
            indexes += [each["column_names"][0] for each in inspector.get_unique_constraints(table)]
            indexes += inspector.get_pk_constraint(table)["constrained_columns"][:1]
            columns = [key["constrained_columns"][0] for key in inspector.get_foreign_keys(table)]
            found += [f"{table}.{column}" for column in columns if column not in indexes]
        return found

    assert await database.run(scanned) == []


def _is_partial(index) -> bool:
    return index.get("dialect_options", {}).get("sqlite_where") is not None
