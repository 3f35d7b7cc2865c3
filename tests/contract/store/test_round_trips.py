"""How many round trips to PostgreSQL a call takes that pipelines make often."""

import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from shuttle.errors import StoreFaultError
from shuttle.store import Database, Tx
from shuttle.store.postgres import PostgresDatabase
from shuttle.store.prepared import TRANSACTION_ID, Call, Prepared, fetch_together
from shuttle.store.record_states import StateReport, record_state, states_of
from shuttle.store.records import create_record
from shuttle.store.tables import builds, states
from shuttle.vault import Vault
from tests.contract.store.test_records import new_record
from tests.support.clock import SetClock
from tests.support.postgres_server import PostgresServer


class CountingProxy:
    """Passes one connection at a time on, and counts how often the client waits for the server."""

    def __init__(self, listener: socket.socket, target: tuple[str, int]) -> None:
        self.round_trips = 0
        self.port: int = listener.getsockname()[1]
        self._listener, self._target = listener, target
        self._asks = False

    def serve(self) -> None:
        """Until the listener is closed."""
        try:
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(self._target)
                for source, sink, asks in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._copy, args=(source, sink, asks), daemon=True).start()
        except OSError:
            pass

    def _copy(self, source: socket.socket, sink: socket.socket, asks: bool) -> None:
        with source, sink:
            try:
                while data := source.recv(65536):
                    self.round_trips += asks and not self._asks
                    self._asks = asks
                    sink.sendall(data)
            except OSError:
                pass


@contextmanager
def counting_proxy(target: tuple[str, int]) -> Iterator[CountingProxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = CountingProxy(listener, target)
        thread = threading.Thread(target=proxy.serve, daemon=True)
        thread.start()
        yield proxy
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


async def test_a_state_takes_five_round_trips(postgres: PostgresServer, vault: Vault, monkeypatch: pytest.MonkeyPatch):
    """BEGIN, the lock, two reads, three writes, COMMIT. Before, each statement took its own: ten."""
    monkeypatch.setattr("shuttle.store.postgres._THREADS", 1)
    url = postgres.new_migrated_url()
    target = url.partition("@")[2].partition("/")[0].split(":")
    with counting_proxy((target[0], int(target[1]))) as proxy:
        database = PostgresDatabase(url.replace(f":{target[1]}/", f":{proxy.port}/"), SetClock())
        build, _ = await database.run(create_record, new_record(vault))
        for code in (10, 20):
            await database.run(record_state, build.build_uuid, StateReport(code))
        before = proxy.round_trips
        await database.run(partial(record_state, build_uuid=build.build_uuid, report=StateReport(30)))
        assert proxy.round_trips - before == 5
        rows = await database.run(states_of, build.build_uuid)
        assert [(row.code, row.ended_at is None) for row in rows] == [(10, False), (20, False), (30, True)]
        await database.close()


@pytest.fixture
async def on_postgres(postgres: PostgresServer) -> AsyncIterator[PostgresDatabase]:
    database = PostgresDatabase(postgres.new_migrated_url(), SetClock())
    yield database
    await database.close()


BUILD = {"uuid": "00000000-0000-4000-8000-000000000001"}
COUNT = Prepared(sa.select(sa.func.count()).where(states.c.build_uuid == sa.bindparam("uuid")))
END = Prepared(builds.update().where(builds.c.build_uuid == sa.bindparam("uuid")).values(state_code=7))


async def test_statements_that_are_sent_together_are_executed_one_after_the_other(database: Database, vault: Vault):
    await database.run(create_record, new_record(vault))
    reading = Prepared(sa.select(builds.c.state_code).where(builds.c.build_uuid == sa.bindparam("uuid")))

    def together(tx: Tx) -> list[Any]:
        found = fetch_together(tx, [Call(reading, BUILD), Call(END, BUILD), Call(reading, BUILD)])
        assert tx.wrote
        return [[tuple(row) for row in rows] for rows in found]

    assert await database.run(together) == [[(0,)], [], [(7,)]]


async def test_id_of_the_transaction_is_read_with_its_writes(on_postgres: PostgresDatabase, vault: Vault):
    """It finds out whether a COMMIT whose response was lost has succeeded."""
    await on_postgres.run(create_record, new_record(vault))

    def ids(tx: Tx) -> tuple[Any, Any]:
        fetch_together(tx, [Call(COUNT, BUILD)])
        assert tx.transaction_id is None
        fetch_together(tx, [Call(END, BUILD)])
        return tx.transaction_id, tx.connection.exec_driver_sql(TRANSACTION_ID).scalar()

    known, expected = await on_postgres.run(ids)
    assert known == expected
    assert known is not None


async def test_lost_connection_is_noticed_and_the_transaction_repeated(
    on_postgres: PostgresDatabase, postgres: PostgresServer, vault: Vault
):
    await on_postgres.run(create_record, new_record(vault))
    pids = list[int]()

    def together(tx: Tx) -> None:
        pids.append(tx.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
        if len(pids) == 1:
            postgres.execute(f"SELECT pg_terminate_backend({pids[0]}, 5000)")
        fetch_together(tx, [Call(COUNT, BUILD), Call(END, BUILD)])

    await on_postgres.run(together)
    assert len(set(pids)) == 2


async def test_refused_statement_is_reported_and_the_connection_stays_usable(on_postgres: PostgresDatabase):
    broken = Prepared(sa.select(sa.literal_column("1 / 0")))
    with pytest.raises(StoreFaultError, match="division by zero"):
        await on_postgres.run(fetch_together, [Call(COUNT, BUILD), Call(broken, {}), Call(END, BUILD)])
    assert [[tuple(row) for row in rows] for rows in await on_postgres.run(fetch_together, [Call(COUNT, BUILD)])] == [
        [(0,)]
    ]
