"""PostgreSQL when it is away, hangs, loses an answer, or is somebody else's."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest
import sqlalchemy as sa

from shuttle.errors import SettingsError, StoreError, StoreFaultError
from shuttle.store import Tx
from shuttle.store.postgres import PostgresDatabase
from shuttle.store.probe import prove_writable
from tests.clock import SetClock
from tests.free_port import free_port
from tests.postgres_server import PASSWORD, PostgresServer, running_postgres

# The database answers its callers within 2.5 s; the rest is what a busy machine needs.
ANSWERED_SECONDS = 3.5


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with running_postgres() as running:
        yield running


@pytest.fixture(scope="module")
def name(server: PostgresServer) -> str:
    return server.new_database()


@pytest.fixture
async def database(server: PostgresServer, name: str) -> AsyncIterator[PostgresDatabase]:
    opened = PostgresDatabase(server.url(name), SetClock())
    await opened.migrate()
    yield opened
    await opened.close()


async def refused(database: PostgresDatabase) -> tuple[StoreError, float]:
    """What it says while it is away, and how soon."""
    began = time.monotonic()
    with pytest.raises(StoreError) as caught:
        await database.run(prove_writable)
    return caught.value, time.monotonic() - began


async def until_back(database: PostgresDatabase) -> None:
    async with asyncio.timeout(20):
        while True:
            with suppress(StoreError):  # after 2.5 s in which it was tried again and again
                await database.run(prove_writable)
                return


async def test_a_server_that_hangs_is_answered_for_in_time_and_used_again_when_it_goes_on(
    database: PostgresDatabase, server: PostgresServer
):
    await database.run(prove_writable)
    server.pause()
    try:
        answers = await asyncio.gather(*(refused(database) for _ in range(20)))
    finally:
        server.resume()
    assert all(seconds < ANSWERED_SECONDS for _, seconds in answers), answers
    assert all((error.status, type(error)) == (503, StoreError) for error, _ in answers)
    await until_back(database)


async def test_a_server_that_crashes_is_used_again_when_it_is_back(database: PostgresDatabase, server: PostgresServer):
    await database.run(prove_writable)
    server.stop(signal.SIGKILL)
    error, seconds = await refused(database)
    server.start()
    assert (error.status, seconds < ANSWERED_SECONDS) == (503, True)
    await until_back(database)


async def test_connections_that_the_server_ends_cost_nobody_an_error(
    database: PostgresDatabase, server: PostgresServer
):
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query NOT LIKE '%advisory%' AND datname = '{}'"
    for _ in range(3):
        await asyncio.gather(*(database.run(prove_writable) for _ in range(4)))
        name = await database.run(lambda tx: tx.connection.exec_driver_sql("SELECT current_database()").scalar())
        await asyncio.to_thread(server.execute, end.format(name))


async def test_a_commit_whose_answer_is_lost_is_kept_once(server: PostgresServer, name: str):
    """The connection is cut when the COMMIT has reached the server, and asked on another one what became of it."""
    proxied = PostgresDatabase(server.url(name), SetClock(), sole_owner=False)
    await proxied.run(lambda tx: tx.connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS kept (n int)"))
    lost = asyncio.Event()
    loop = asyncio.get_running_loop()

    def insert(tx: Tx) -> None:
        tx.execute(sa.text("INSERT INTO kept VALUES (1)"))
        if not lost.is_set():
            driver = tx.connection.connection.driver_connection
            commit = driver.commit

            def commit_and_lose() -> None:
                commit()
                loop.call_soon_threadsafe(lost.set)
                import psycopg

                raise psycopg.OperationalError("server closed the connection unexpectedly")

            driver.commit = commit_and_lose

    await proxied.run(insert)
    assert lost.is_set()
    assert server.execute("SELECT count(*) FROM kept", name) == [(1,)]
    await proxied.close()


async def test_a_transaction_that_the_server_undid_runs_again(database: PostgresDatabase):
    runs = []

    def fails_at_first(tx: Tx) -> str:
        runs.append(1)
        if len(runs) < 3:
            code = ("40001", "40P01")[len(runs) - 1]
            tx.connection.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$")
        return "done"

    assert await database.run(fails_at_first) == "done"
    assert len(runs) == 3


async def test_a_statement_that_is_never_taken_is_a_fault_and_names_no_value(database: PostgresDatabase):
    with pytest.raises(StoreFaultError, match="report it") as caught:
        await database.run(lambda tx: tx.execute(sa.text("INSERT INTO apps (app_id) VALUES ('secret-of-mine')")))
    assert "secret-of-mine" not in repr(caught.value)


async def test_a_second_shuttle_on_the_same_database_is_refused(
    database: PostgresDatabase, server: PostgresServer, name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shuttle.store.sole_owner._OTHER_ENDS_SECONDS", 0.3)
    second = PostgresDatabase(server.url(name), SetClock())
    with pytest.raises(SettingsError, match="Another shuttle serves"):
        await second.migrate()
    await second.close()
    await database.close()
    third = PostgresDatabase(server.url(name), SetClock())
    await third.migrate()
    await third.close()


@pytest.mark.parametrize(
    ("database", "password", "sentence"),
    [("postgres", "wrong-password", "user or the password"), ("nothing", PASSWORD, "does not exist")],
)
async def test_credentials_that_the_server_refuses_end_the_start(
    server: PostgresServer, database: str, password: str, sentence: str
):
    opened = PostgresDatabase(server.url(database, password=password), SetClock())
    with pytest.raises(SettingsError, match=sentence) as caught:
        await opened.migrate()
    assert password not in repr(caught.value)
    await opened.close()


async def test_a_server_that_is_not_there_is_waited_for(server: PostgresServer):
    opened = PostgresDatabase(server.url(port=free_port()), SetClock())
    with pytest.raises(StoreError, match="does not answer") as caught:
        await opened.migrate()
    assert PASSWORD not in repr(caught.value)
    await opened.close()
