"""A start on PostgreSQL waits at each of its steps for a server that does not answer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from shuttle.errors import ShuttleError, StoreError
from shuttle.store.moves import MOVE_LOCK, refuse_while_filled
from shuttle.store.open_work import open_work
from shuttle.store.postgres import PostgresDatabase
from shuttle.store.replicas import raise_counter
from shuttle.store.sealed import sealed_samples
from shuttle.store.steady_time import first_steady_time
from tests.support.inprocess import running_shuttle
from tests.support.on_postgres import OnPostgres, on_postgres

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def postgres() -> Iterator[OnPostgres]:
    with on_postgres() as started:
        yield started


@pytest.mark.parametrize("step", [refuse_while_filled, sealed_samples, first_steady_time, raise_counter, open_work])
async def test_a_server_that_is_lost_between_two_steps_is_waited_for(
    postgres: OnPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: Any
):
    """Migrations go past a pooler, for example, and the pooler is started last."""
    monkeypatch.setattr("shuttle.lifecycle.patient_start._PAUSE_SECONDS", 0.01, raising=False)
    run, failures = PostgresDatabase.run, [StoreError("The server does not answer.")]

    async def fails_at_first(self: PostgresDatabase, called: Any, *args: Any, **kwargs: Any) -> Any:
        if called is step and failures:
            raise failures.pop()
        return await run(self, called, *args, **kwargs)

    monkeypatch.setattr(PostgresDatabase, "run", fails_at_first)
    settings = postgres.settings | {"DATABASE_URL": postgres.server.new_migrated_url()}
    async with running_shuttle(tmp_path, **settings) as shuttle:
        assert (await shuttle.get("/healthz")).status == 200
    assert failures == []


async def test_a_database_that_is_being_filled_is_not_waited_for(postgres: OnPostgres, tmp_path: Path):
    url = postgres.server.new_migrated_url()
    with psycopg.connect(url, autocommit=True) as filling:
        filling.execute("SELECT pg_advisory_lock(%s)", [MOVE_LOCK])
        with pytest.raises(ShuttleError, match="moving another database into this one"):
            async with running_shuttle(tmp_path, **postgres.settings | {"DATABASE_URL": url}):
                pass
