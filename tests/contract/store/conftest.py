"""Fixtures: an empty database of each kind, two connections to it, and a vault."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from shuttle.store import Database, Tx
from shuttle.store.postgres import PostgresDatabase
from shuttle.store.postgres_migrate import bring_postgres_up_to_date
from shuttle.store.stored_outbox import StoredOutbox
from shuttle.store.tables import metadata
from shuttle.vault import Vault
from tests.support.clock import SetClock
from tests.support.postgres_server import PostgresServer, running_postgres
from tests.support.shuttle_store import open_database

INSTANCE = "11111111-0000-4000-8000-000000000000"


@pytest.fixture
def vault() -> Vault:
    return Vault([Fernet.generate_key().decode()])


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_twice(postgres: PostgresServer) -> Iterator[list[PostgresDatabase]]:
    """Two connections to one database, for all tests: a connection takes 10 ms (hashing), a new database 100 ms."""
    url = postgres.url(postgres.new_database())
    bring_postgres_up_to_date(url)
    # A long timeout, because the machine may be busy.
    opened = [PostgresDatabase(url, SetClock(), answer_seconds=20) for _ in range(2)]
    yield opened
    for database in opened:
        asyncio.run(database.close())


@pytest.fixture(params=["sqlite", "postgresql"])
async def connections(request: pytest.FixtureRequest, tmp_path: Path, clock: SetClock) -> AsyncIterator[list[Database]]:
    """Two connections of one process to its database. SQLite has one, so both are the same object there."""
    if request.param == "sqlite":
        async with open_database(tmp_path, clock) as opened:
            yield [opened, opened]
        return
    twice: list[PostgresDatabase] = request.getfixturevalue("postgres_twice")
    for database in twice:
        database._clock, database.instance = clock, INSTANCE
    await twice[0].run(empty)
    yield [*twice]


def empty(tx: Tx) -> None:
    tables = ", ".join(metadata.tables)
    tx.connection.exec_driver_sql(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")


@pytest.fixture
def database(connections: list[Database]) -> Database:
    return connections[0]


@pytest.fixture
def outbox(database: Database, vault: Vault) -> StoredOutbox:
    return StoredOutbox(database, vault)
