"""PostgreSQL: the server is unavailable, hangs, loses a response, or serves another shuttle."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import psycopg
import pytest
import sqlalchemy as sa

from shuttle.errors import OutcomeUnknownError, SettingsError, StoreError, StoreFaultError
from shuttle.store import Tx
from shuttle.store.postgres import PostgresDatabase
from shuttle.store.postgres_connection import ThreadConnection
from shuttle.store.postgres_errors import refusal
from shuttle.store.probe import prove_writable
from tests.support.clock import SetClock
from tests.support.free_port import free_port
from tests.support.postgres_server import PASSWORD, USER, PostgresServer, running_postgres

# The database answers its callers within 2.5 s; the rest is a margin for a busy machine.
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
    """The error while the server is unavailable, and the seconds until it was raised."""
    began = time.monotonic()
    with pytest.raises(StoreError) as caught:
        await database.run(prove_writable)
    return caught.value, time.monotonic() - began


async def until_back(database: PostgresDatabase) -> None:
    async with asyncio.timeout(20):
        while True:
            with suppress(StoreError):  # raised after 2.5 s of retries
                await database.run(prove_writable)
                return


@pytest.mark.slow
async def test_hanging_server_is_reported_in_time_and_used_again_later(
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


@pytest.mark.slow
async def test_outcome_is_unknown_if_the_server_hangs_at_the_commit(
    database: PostgresDatabase, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
):
    transaction_id = ThreadConnection.transaction_id

    def last_statement(connection: ThreadConnection) -> str | None:
        found = transaction_id(connection)
        server.pause()
        return found

    monkeypatch.setattr(ThreadConnection, "transaction_id", last_statement)
    try:
        with pytest.raises(OutcomeUnknownError):
            await database.run(prove_writable)
    finally:
        server.resume()
        monkeypatch.undo()
    await until_back(database)


@pytest.mark.slow
async def test_crashed_server_is_used_again_after_its_restart(database: PostgresDatabase, server: PostgresServer):
    await database.run(prove_writable)
    server.stop(signal.SIGKILL)
    error, seconds = await refused(database)
    server.start()
    assert (error.status, seconds < ANSWERED_SECONDS) == (503, True)
    await until_back(database)


async def test_connections_ended_by_the_server_are_reopened_without_errors(
    database: PostgresDatabase, server: PostgresServer
):
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query NOT LIKE '%advisory%' AND datname = '{}'"
    for _ in range(3):
        await asyncio.gather(*(database.run(prove_writable) for _ in range(4)))
        name = await database.run(lambda tx: tx.connection.exec_driver_sql("SELECT current_database()").scalar())
        await asyncio.to_thread(server.execute, end.format(name))


async def test_commit_whose_response_is_lost_is_executed_once(server: PostgresServer, name: str):
    """The connection is lost after the server has committed; another connection finds out the outcome."""
    proxied = PostgresDatabase(server.url(name), SetClock())
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


async def test_transaction_rolled_back_by_the_server_is_repeated(database: PostgresDatabase):
    runs = []

    def fails_twice(tx: Tx) -> str:
        runs.append(1)
        if len(runs) < 3:
            code = ("40001", "40P01")[len(runs) - 1]
            tx.connection.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$")
        return "done"

    assert await database.run(fails_twice) == "done"
    assert len(runs) == 3


async def test_refused_statement_is_a_fault_without_values_in_its_message(database: PostgresDatabase):
    with pytest.raises(StoreFaultError, match="report it") as caught:
        await database.run(lambda tx: tx.execute(sa.text("INSERT INTO apps (app_id) VALUES ('secret-of-mine')")))
    assert "secret-of-mine" not in repr(caught.value)


@pytest.mark.parametrize(
    ("database", "password", "sentence"),
    [("postgres", "wrong-password", "user or the password"), ("nothing", PASSWORD, "does not exist")],
)
async def test_refused_credentials_end_the_start(server: PostgresServer, database: str, password: str, sentence: str):
    opened = PostgresDatabase(server.url(database, password=password), SetClock())
    with pytest.raises(SettingsError, match=sentence) as caught:
        await opened.migrate()
    assert password not in repr(caught.value)
    await opened.close()


def test_missing_authority_ends_the_start():
    """libpq says this of a server with TLS; the server of these tests has none."""
    text = 'root certificate file "/data/.postgresql/root.crt" does not exist'
    found = refusal(psycopg.OperationalError(f"connection to server at … failed: {text}"))
    assert isinstance(found, SettingsError)
    assert "name its CA as sslrootcert" in found.message


async def test_missing_password_ends_the_start(server: PostgresServer):
    opened = PostgresDatabase(f"postgresql://{USER}@127.0.0.1:{server.port}/postgres", SetClock())
    with pytest.raises(SettingsError, match="requires a password"):
        await opened.migrate()
    await opened.close()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_database_that_cannot_store_all_text_ends_the_start(server: PostgresServer, encoding: str):
    """Before, the start ended with a traceback. A cluster made in the locale C has SQL_ASCII."""
    name = f"in_{encoding.lower()}"
    server.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    opened = PostgresDatabase(server.url(name), SetClock())
    with pytest.raises(SettingsError, match=f"has the encoding {encoding}; create one with ENCODING 'UTF8'"):
        await opened.migrate()
    await opened.close()


@pytest.fixture
def limited(server: PostgresServer) -> str:
    """The URL of a database that belongs to a user of its own."""
    name = server.new_database()
    server.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'first'")
    server.execute(f"ALTER DATABASE {name} OWNER TO {name}")
    return f"postgresql://{name}:first@127.0.0.1:{server.port}/{name}"


def end_connections(server: PostgresServer, url: str) -> None:
    name = url.rpartition("/")[2]
    server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'")


async def test_start_waits_if_the_user_has_too_many_connections(server: PostgresServer, limited: str):
    """Another program has them, and may close them."""
    server.execute(f"ALTER ROLE {limited.rpartition('/')[2]} CONNECTION LIMIT 2")
    opened = PostgresDatabase(limited, SetClock())
    with psycopg.connect(limited), psycopg.connect(limited), pytest.raises(StoreError, match="no more connections"):
        await opened.migrate()
    await opened.migrate()
    await opened.close()


@pytest.mark.slow
async def test_refused_login_of_a_running_service_is_retried(server: PostgresServer, limited: str):
    """Somebody changes the password, and then DATABASE_URL or the password again."""
    name = limited.rpartition("/")[2]
    opened = PostgresDatabase(limited, SetClock(), answer_seconds=2)
    await opened.migrate()
    await opened.run(prove_writable)
    server.execute(f"ALTER ROLE {name} PASSWORD 'second'")
    end_connections(server, limited)
    error, _ = await refused(opened)
    assert "the user or the password" in error.message
    server.execute(f"ALTER ROLE {name} PASSWORD 'first'")
    await until_back(opened)
    await opened.close()


@asynccontextmanager
async def fake_server(message: str, *, after_the_login: bool = False) -> AsyncIterator[str]:
    """The URL of a server that refuses the login, or the first query, with this message."""
    text = message.encode()
    refusal = b"SFATAL\0VFATAL\0C" + (b"08P01" if "pool" in message else b"28P01") + b"\0M" + text + b"\0\0"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (head := await reader.readexactly(8)) == b"\0\0\0\x08\x04\xd2\x16\x2f":  # SSLRequest
            writer.write(b"N")
        await reader.readexactly(int.from_bytes(head[:4], "big") - 8)
        writer.write(b"R\0\0\0\x08\0\0\0\x03")  # AuthenticationCleartextPassword
        await reader.readexactly(5 + len(b"secret\0"))
        if after_the_login:
            writer.write(b"R\0\0\0\x08\0\0\0\0" + b"Z\0\0\0\x05I")  # AuthenticationOk, ReadyForQuery
            await reader.readexactly(1)
        writer.write(b"E" + (len(refusal) + 4).to_bytes(4, "big") + refusal)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        yield f"postgresql://x:secret@127.0.0.1:{port}/x?gssencmode=disable"


async def test_login_refused_in_another_language_is_named():
    """The server's messages are in the language of its lc_messages until the login is complete."""
    async with fake_server("Passwort-Authentifizierung für Benutzer »x« fehlgeschlagen") as url:
        opened = PostgresDatabase(url, SetClock())
        with pytest.raises(StoreError, match="refuses the login"):
            await opened.migrate()
        await opened.close()


async def test_pooler_that_pools_statements_is_refused():
    """The message is pgbouncer's."""
    async with fake_server("transaction blocks not allowed in statement pooling mode", after_the_login=True) as url:
        opened = PostgresDatabase(url, SetClock(), answer_seconds=0.3)
        with pytest.raises(SettingsError, match="let it pool transactions"):
            await opened.migrate()
        await opened.close()
        unlocked = PostgresDatabase(url, SetClock(), answer_seconds=0.3)
        with pytest.raises(StoreError, match="let it pool transactions"):
            await unlocked.run(prove_writable)
        await unlocked.close()


@pytest.mark.parametrize(
    ("message", "error", "sentence"),
    [
        ("unsupported startup parameter: options", SettingsError, "refuses a parameter of that URL"),
        ("no more connections allowed (max_client_conn)", StoreError, "accepts no more connections; .*max_client_conn"),
    ],
)
async def test_refusal_of_a_pooler_is_one_sentence(message: str, error: type[Exception], sentence: str):
    """The messages are pgbouncer's."""
    async with fake_server(message) as url:
        opened = PostgresDatabase(url, SetClock())
        with pytest.raises(error, match=sentence):
            await opened.migrate()
        await opened.close()


async def test_unreachable_server_raises_an_error_that_is_retried(server: PostgresServer):
    opened = PostgresDatabase(server.url(port=free_port()), SetClock())
    with pytest.raises(StoreError, match="does not answer") as caught:
        await opened.migrate()
    assert PASSWORD not in repr(caught.value)
    await opened.close()
