"""An empty database of each kind, two connections to it, and the vault of its secrets."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from shuttle.store import Database, Tx
from shuttle.store.migrate import bring_up_to_date
from shuttle.store.postgres import PostgresDatabase
from shuttle.store.postgres_connection import MIGRATION, connector, engine_of
from shuttle.store.stored_outbox import StoredOutbox
from shuttle.store.tables import metadata
from shuttle.vault import Vault
from tests.clock import SetClock
from tests.postgres_server import PostgresServer, running_postgres
from tests.shuttle_store import open_database


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
    """One for all tests: a new connection costs 10 ms of hashing, and a new database 100."""
    url = postgres.url(postgres.new_database())
    engine = engine_of(connector(url), MIGRATION)
    bring_up_to_date(engine)
    engine.dispose()
    # A machine that does much else takes its time.
    opened = [PostgresDatabase(url, SetClock(), sole_owner=False, answer_seconds=20) for _ in range(2)]
    yield opened
    for database in opened:
        asyncio.run(database.close())


@pytest.fixture(params=["sqlite", "postgresql"])
async def two(request: pytest.FixtureRequest, tmp_path: Path, clock: SetClock) -> AsyncIterator[list[Database]]:
    """Two connections to one database, as of two processes; SQLite's has one process, so they are the same."""
    if request.param == "sqlite":
        async with open_database(tmp_path, clock) as opened:
            yield [opened, opened]
        return
    twice: list[PostgresDatabase] = request.getfixturevalue("postgres_twice")
    for database in twice:
        database._clock = clock
    await twice[0].run(empty)
    yield [*twice]


def empty(tx: Tx) -> None:
    tables = ", ".join(metadata.tables)
    tx.connection.exec_driver_sql(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")


@pytest.fixture
def database(two: list[Database]) -> Database:
    return two[0]


@pytest.fixture
def outbox(database: Database, vault: Vault) -> StoredOutbox:
    return StoredOutbox(database, vault)
