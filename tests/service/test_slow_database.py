"""Slow and locked databases: a request gets 503 within the time that all its transactions have together."""

import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from shuttle.store import Tx
from tests.contract.legacy.caller import LegacyApp
from tests.support.answer import Answer
from tests.support.inprocess import Shuttle, running_shuttle, script_request
from tests.support.on_postgres import on_postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]

REQUEST_SECONDS = 1.0
# The rest is for a busy machine.
ANSWERED_SECONDS = 2.0
# Each stop fits into a request's time, the four of the test do not. A stop updates its build more than once.
UPDATE_SECONDS = 0.2


@pytest.fixture(scope="module")
def postgres() -> Iterator[dict[str, str]]:
    with on_postgres() as running:
        yield running.settings


@pytest.fixture(params=["sqlite", "postgresql"])
async def shuttle(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Shuttle]:
    monkeypatch.setattr("shuttle.store.request_time.REQUEST_SECONDS", REQUEST_SECONDS)
    settings = request.getfixturevalue("postgres") if request.param == "postgresql" else {}
    async with running_shuttle(tmp_path, **settings) as running:
        yield running


async def test_request_with_several_slow_transactions_is_answered_503_in_time(shuttle: Shuttle):
    app = LegacyApp(shuttle)
    for _ in range(4):
        await app.submit(1)
    await shuttle.services.database.run(slow_down_updates)
    answer, seconds = await timed(shuttle, "DELETE", app.path(1))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert seconds < ANSWERED_SECONDS
    await shuttle.services.database.run(use_full_speed)
    assert (await shuttle.delete(app.path(1))).status == 200
    for build in (await shuttle.get(f"/{app.app_id}")).json["builds"]:
        assert build["state"] == "stopped"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_request_is_answered_503_in_time_while_the_database_is_locked(shuttle: Shuttle, method: str):
    app = LegacyApp(shuttle)
    await app.submit(1)
    with locked(shuttle):
        answer, seconds = await timed(
            shuttle, method, app.path(1), **({"json": script_request()} if method == "POST" else {})
        )
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert seconds < ANSWERED_SECONDS
    assert (await shuttle.get(app.path(1))).status == 200


async def timed(shuttle: Shuttle, method: str, path: str, **sent: Any) -> tuple[Answer, float]:
    began_at = time.monotonic()
    answer = await shuttle.ask(method, path, **sent)
    return answer, time.monotonic() - began_at


def slow_down_updates(tx: Tx) -> None:
    """Let each update of a build take UPDATE_SECONDS."""
    if tx.connection.dialect.name == "sqlite":
        driver = tx.connection.connection.driver_connection
        assert driver is not None
        driver.create_function("pause", 0, lambda: time.sleep(UPDATE_SECONDS))
        tx.connection.exec_driver_sql("CREATE TRIGGER slow BEFORE UPDATE ON builds BEGIN SELECT pause(); END")
        return
    tx.connection.exec_driver_sql(
        "CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN PERFORM pg_sleep({UPDATE_SECONDS}); RETURN NEW; END $$"
    )
    tx.connection.exec_driver_sql("CREATE TRIGGER slow BEFORE UPDATE ON builds FOR EACH ROW EXECUTE FUNCTION pause()")


def use_full_speed(tx: Tx) -> None:
    on_table = "" if tx.connection.dialect.name == "sqlite" else " ON builds"
    tx.connection.exec_driver_sql(f"DROP TRIGGER slow{on_table}")


def locked(shuttle: Shuttle) -> AbstractContextManager[None]:
    """Another program locks the database, on PostgreSQL one of its tables."""
    settings = shuttle.services.settings
    return _locked_postgres(settings.postgres_url) if settings.postgres_url else _locked_sqlite(settings.database_path)


@contextmanager
def _locked_postgres(url: str) -> Iterator[None]:
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE builds IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()


@contextmanager
def _locked_sqlite(path: Path) -> Iterator[None]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.rollback()
        connection.close()
