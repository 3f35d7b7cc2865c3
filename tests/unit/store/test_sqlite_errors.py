"""Errors of SQLite: a full disk, a file that cannot be written, and statements that can never be executed."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from shuttle.errors import StoreError, StoreFaultError
from shuttle.store.sqlite import SqliteDatabase
from tests.support.clock import SetClock
from tests.support.shuttle_store import open_database


@pytest.fixture
async def database(tmp_path: Path):
    async with open_database(tmp_path) as opened:
        yield opened


async def execute(database: SqliteDatabase, statement: str, **values: str) -> None:
    await database.run(lambda tx: tx.execute(sa.text(statement), values))


async def add_app(database: SqliteDatabase, app_id: str) -> None:
    statement = "INSERT INTO apps (app_id, job_name, created_at) VALUES (:app, :job, '2030-01-01')"
    await execute(database, statement, app=app_id, job=app_id * 1000)


async def test_refused_statement_is_not_reported_as_a_full_disk(database: SqliteDatabase):
    await add_app(database, "secret-of-mine")
    with pytest.raises(StoreFaultError, match=r"UNIQUE constraint failed: apps\.") as caught:
        await add_app(database, "secret-of-mine")
    assert (caught.value.status, caught.value.code) == (500, "internal_error")
    assert "disk" not in caught.value.message
    assert "secret-of-mine" not in repr(caught.value)
    with pytest.raises(StoreFaultError, match="no such table"):
        await execute(database, "SELECT * FROM nowhere")


async def test_full_disk_is_reported_and_recovered_from(database: SqliteDatabase):
    await execute(database, "PRAGMA max_page_count = 1")  # limits the file to its current size
    with pytest.raises(StoreError, match="free space on the disk") as caught:
        await add_app(database, "app" * 100)
    assert (type(caught.value), caught.value.status) == (StoreError, 503)
    await execute(database, "PRAGMA max_page_count = 100000")
    await add_app(database, "later")


async def test_read_only_database_says_what_to_check(database: SqliteDatabase):
    await execute(database, "PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="check the permissions") as caught:
        await add_app(database, "one")
    assert type(caught.value) is StoreError


async def test_invalid_database_file_says_to_restore_a_backup(tmp_path: Path):
    (tmp_path / "shuttle.db").write_bytes(b"not a database" * 1000)
    opened = SqliteDatabase(tmp_path / "shuttle.db", SetClock())
    for call in (opened.migrate(), opened.run(lambda tx: None)):
        with pytest.raises(StoreError, match="restore a backup"):
            await call
    await opened.close()


async def test_database_locked_by_another_process_is_reported(database: SqliteDatabase, tmp_path: Path):
    await execute(database, "PRAGMA busy_timeout = 10")
    other = sqlite3.connect(tmp_path / "shuttle.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreError, match="end the other process"):
            await add_app(database, "one")
    finally:
        other.close()
    await add_app(database, "one")
