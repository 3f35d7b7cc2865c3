"""Migrations of a PostgreSQL database beside replicas: they block nobody, wait for one another, and can be killed."""

import asyncio
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from secrets import token_hex

import psycopg
import pytest
import sqlalchemy as sa

from shuttle.errors import SettingsError, StoreError
from shuttle.store.migrate import Migrations
from shuttle.store.postgres import PostgresDatabase
from shuttle.store.postgres_migrate import bring_postgres_up_to_date, migration_engine
from tests.support.clock import SetClock
from tests.support.free_port import free_port
from tests.support.postgres_server import PASSWORD, PostgresServer, running_postgres
from tests.support.shuttle_store import build_row, migrate_to

# The tests share a PostgreSQL server, whose start takes seconds.
pytestmark = pytest.mark.slow

# `release` of the newest migration, and the revision before the first one that makes indexes of large tables.
OWN = Migrations().release
BEFORE_INDEXES = "0015"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as running:
        yield running


@pytest.fixture
def url(server: PostgresServer) -> str:
    return server.new_url()


def migrated_to(url: str, revision: str) -> None:
    engine = migration_engine(url)
    migrate_to(engine, revision)
    engine.dispose()


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


async def until(url: str, condition: str) -> None:
    """Poll the server until the condition holds."""
    async with asyncio.timeout(30):
        while not (await asyncio.to_thread(execute, url, f"SELECT {condition}"))[0][0]:
            await asyncio.sleep(0.02)


INDEX_IS_BEING_MADE = (
    "EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%builds_with_source%'"
    " AND wait_event_type = 'Lock' AND datname = current_database())"
)


@pytest.mark.parametrize(("release", "serves"), [(OWN, True), (OWN + 1, True), (OWN + 2, False)])
async def test_version_serves_from_a_schema_that_is_at_most_one_release_ahead(url: str, release: int, serves: bool):
    bring_postgres_up_to_date(url)
    execute(url, "UPDATE alembic_version SET version_num = '9999'")
    execute(url, f"UPDATE schema_release SET release = {release}")
    database = PostgresDatabase(url, SetClock())
    if serves:
        assert await database.migrate() == "9999"
    else:
        with pytest.raises(SettingsError, match=rf"release {release} of its schema.*start a newer one\.$"):
            await database.migrate()
    await database.close()


async def test_migration_makes_indexes_while_others_write_and_another_migration_waits(url: str):
    migrated_to(url, BEFORE_INDEXES)
    add_app = "INSERT INTO apps (app_id, job_name, created_at) VALUES ('{0}', '{0}', now())"
    execute(url, add_app.format("before"))
    async with await psycopg.AsyncConnection.connect(url) as writer:
        await writer.execute("UPDATE apps SET next_number = 2")
        await writer.execute("LOCK TABLE builds IN ROW EXCLUSIVE MODE")  # as an INSERT into it
        migrating = asyncio.create_task(asyncio.to_thread(bring_postgres_up_to_date, url))
        await until(url, INDEX_IS_BEING_MADE)
        waiting = asyncio.create_task(asyncio.to_thread(bring_postgres_up_to_date, url))
        async with await psycopg.AsyncConnection.connect(url) as other:
            await other.execute("SET LOCAL lock_timeout = '1s'")
            await other.execute("LOCK TABLE deliveries, builds, apps IN ROW EXCLUSIVE MODE")
            await other.execute(add_app.format("meanwhile"))
        assert not migrating.done()
        assert not waiting.done()
        await writer.commit()
    assert await migrating == await waiting == Migrations().head


@pytest.mark.slow
async def test_migration_that_takes_long_keeps_another_start_waiting_with_a_reason(
    url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shuttle.store.postgres_migrate._LOCK_SECONDS", 0.1)
    migrated_to(url, BEFORE_INDEXES)
    async with await psycopg.AsyncConnection.connect(url) as writer:
        await writer.execute("LOCK TABLE builds IN ROW EXCLUSIVE MODE")
        migrating = asyncio.create_task(asyncio.to_thread(bring_postgres_up_to_date, url))
        await until(url, INDEX_IS_BEING_MADE)
        database = PostgresDatabase(url, SetClock())
        with pytest.raises(StoreError, match="Another process is migrating the database"):
            await database.migrate()
        await database.close()
        await writer.commit()
    await migrating


async def test_migration_that_was_killed_while_it_made_an_index_is_repeated(url: str):
    migrated_to(url, BEFORE_INDEXES)
    async with await psycopg.AsyncConnection.connect(url) as writer:
        await writer.execute("LOCK TABLE builds IN ROW EXCLUSIVE MODE")
        migrating = asyncio.create_task(asyncio.to_thread(bring_postgres_up_to_date, url))
        await until(url, INDEX_IS_BEING_MADE)
        killed = "query LIKE 'CREATE INDEX CONCURRENTLY%builds_with_source%' AND datname = current_database()"
        execute(
            url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {killed} AND pid <> pg_backend_pid()"
        )
        with pytest.raises(sa.exc.OperationalError):
            await migrating
    invalid = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
    assert execute(url, invalid) == [("builds_with_source",)]
    assert execute(url, "SELECT version_num FROM alembic_version") == [(BEFORE_INDEXES,)]
    assert bring_postgres_up_to_date(url) == Migrations().head
    assert execute(url, invalid) == []
    assert execute(url, "SELECT to_regclass('builds_with_source') IS NOT NULL") == [(True,)]


def test_database_with_a_long_label_is_migrated(url: str):
    migrated_to(url, "0025")
    row = build_row("app", 1, datetime(2026, 1, 1, tzinfo=UTC), labels=json.dumps({"platform": token_hex(5000)}))
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO apps (app_id, job_name, created_at) VALUES ('app', 'job', now())")
        names = ", ".join(row)
        connection.execute(f"INSERT INTO builds ({names}) VALUES ({', '.join(['%s'] * len(row))})", [*row.values()])
    assert bring_postgres_up_to_date(url) == Migrations().head


def test_index_of_whole_labels_is_replaced(url: str):
    migrated_to(url, "0026")
    execute(url, "CREATE INDEX builds_by_platform ON builds ((labels ->> 'platform'), position)")
    bring_postgres_up_to_date(url)
    query = "SELECT indexname FROM pg_indexes WHERE indexname LIKE 'builds_%_platform'"
    assert execute(url, query) == [("builds_of_platform",)]


async def test_suspended_migration_keeps_no_table_locked(url: str, monkeypatch: pytest.MonkeyPatch):
    """The process, which is stopped between two statements, would hold up all replicas; its step is rolled back."""
    monkeypatch.setattr("shuttle.store.postgres_migrate._IDLE_SECONDS", 0.2)
    stopped, continued = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def run(self: Migrations, connection: sa.Connection) -> None:
        with connection.begin():
            connection.exec_driver_sql("LOCK TABLE builds")
            loop.call_soon_threadsafe(stopped.set)
            continued.wait(10)
            connection.exec_driver_sql("SELECT 1")

    migrated_to(url, BEFORE_INDEXES)
    with monkeypatch.context() as patch:
        patch.setattr(Migrations, "run", run)
        migrating = asyncio.create_task(asyncio.to_thread(bring_postgres_up_to_date, url))
        await stopped.wait()
        async with await psycopg.AsyncConnection.connect(url) as other:
            await other.execute("SET LOCAL lock_timeout = '5s'")
            await other.execute("LOCK TABLE builds IN ROW EXCLUSIVE MODE")  # as an INSERT into it
        continued.set()
        with pytest.raises(sa.exc.DBAPIError):
            await migrating
    assert await asyncio.to_thread(bring_postgres_up_to_date, url) == Migrations().head


def test_server_soon_learns_that_the_machine_of_a_migration_is_gone(url: str):
    """Else no replica could start, and no move be repeated, for up to two hours."""
    engine = migration_engine(url)
    with engine.connect() as connection:
        read = connection.exec_driver_sql("SELECT name, setting::int FROM pg_settings WHERE starts_with(name, 'tcp_')")
        settings: dict[str, int] = {row.name: row.setting for row in read}
    engine.dispose()
    probes_seconds = settings["tcp_keepalives_interval"] * settings["tcp_keepalives_count"]
    assert 0 < settings["tcp_keepalives_idle"] + probes_seconds < 15
    assert 0 < settings["tcp_user_timeout"] < 15_000


async def test_migrations_use_the_url_for_them(url: str):
    """DATABASE_URL may lead to a pooler, and belong to a user who may not change tables."""
    unreachable = f"postgresql://u:{PASSWORD}@127.0.0.1:{free_port()}/x"
    database = PostgresDatabase(unreachable, SetClock(), migrate_url=url)
    assert await database.migrate() == Migrations().head
    await database.close()
    database = PostgresDatabase(url, SetClock(), migrate_url=unreachable)
    with pytest.raises(StoreError, match="the server of SHUTTLE_DATABASE_MIGRATE_URL"):
        await database.migrate()
    await database.close()
