"""The migrations create exactly the tables that the code uses, and a start waits for them."""

import asyncio
import json
import re
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from shuttle.errors import SettingsError
from shuttle.store.ledger import find_deliveries
from shuttle.store.migrate import bring_up_to_date
from shuttle.store.tables import apps, builds, events, metadata, receivers
from tests.support.inprocess import running_shuttle
from tests.support.shuttle_store import build_row, migrate_to, open_database

# A part of the migrations.
OF_MIGRATIONS = "shuttle.store.migrations.large_index"


def test_migrations_and_tables_create_the_same_indexes(tmp_path):
    """Alembic compares the rest (`tests/contract/store/test_tables.py`), but no indexes of expressions on SQLite."""
    migrated, created = (sa.create_engine(f"sqlite:///{tmp_path}/{name}.db") for name in ("migrated", "created"))
    bring_up_to_date(migrated)
    metadata.create_all(created)
    assert indexes_in(migrated) == indexes_in(created)
    migrated.dispose()
    created.dispose()


def indexes_in(engine):
    """The statements that create the indexes, by their names."""
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    with engine.connect() as connection:
        return {name: sql.replace('"', "") for name, sql in connection.exec_driver_sql(query)}


def test_migration_is_idempotent(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db")
    assert bring_up_to_date(engine) == bring_up_to_date(engine)
    engine.dispose()


def test_database_of_a_newer_version_is_refused(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db")
    bring_up_to_date(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SettingsError, match=r"newer version.*\(revision 9999\).*the backup.*\.$"):
        bring_up_to_date(engine)
    engine.dispose()


def test_migrations_do_not_import_the_service():
    """The result of a migration must not change when the code changes."""
    versions = Path(bring_up_to_date.__code__.co_filename).parent / "migrations" / "versions"
    for path in versions.glob("*.py"):
        imports = re.findall(r"^(?:from|import) ([\w.]+)", path.read_text(), re.MULTILINE)
        assert {*imports} <= {"json", "typing", "sqlalchemy", "alembic", OF_MIGRATIONS}, path.name


async def test_cancelled_start_waits_for_the_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """SQLite crashes the process when a connection is closed that a thread still uses."""
    loop, began, released = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def slow(engine: sa.Engine) -> str:
        loop.call_soon_threadsafe(began.set)
        assert released.wait(10)
        return bring_up_to_date(engine)

    async def start() -> None:
        async with running_shuttle(tmp_path):
            pass

    monkeypatch.setattr("shuttle.store.sqlite.bring_up_to_date", slow)
    starting = asyncio.create_task(start())
    await began.wait()
    starting.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not starting.done()
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await starting


def test_migration_removes_queries_of_source_urls_from_old_records(tmp_path: Path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db")
    migrate_to(engine, "0007")
    url, other = "https://h.example/a.tgz?sig=t0ps3cret", "https://h.example/b.tgz?…"
    mine = f'{{"mine":"{url}"}}'
    body = f'{{"id":{mine},"message":"{url} answers 404."}}'
    at = datetime(2030, 1, 1, tzinfo=UTC)
    with engine.begin() as connection:
        connection.execute(apps.insert(), {"app_id": "app", "job_name": "job", "created_at": at})
        for number, source_url in enumerate((url, other, url, url + "x" * 300)):
            texts = {"message": f"{source_url} answers 404.", "preamble": f"-----> Source: {source_url}\n"}
            row = build_row("app", number, at, source_url=source_url, metadata_json=mine, **texts)
            if number >= 2:  # the log is not archived yet
                row |= {"archived_at": None, "preamble": f"-----> Source: {source_url[:300]}\n"}
            connection.execute(builds.insert(), row)
        event = {"build_uuid": "u0", "sequence": 1, "webhook_id": "m", "status": "failed", "body": body.encode()}
        connection.execute(events.insert(), event | {"created_at": at})
    bring_up_to_date(engine)
    with engine.connect() as connection:
        kept = connection.execute(sa.select(builds.c.source_url, builds.c.message, builds.c.preamble)).all()
        [sent] = connection.execute(sa.select(events.c.body)).scalars()
    engine.dispose()
    shown = "https://h.example/a.tgz?…"
    assert kept[0] == (shown, f"{shown} answers 404.", f"-----> Source: {shown}\n")
    assert kept[1].source_url == other
    # The replacement has the same length, because offsets count these bytes.
    first_line = f"-----> Source: {url}\n".replace("sig=t0ps3cret", "*" * len("sig=t0ps3cret"))
    assert kept[2] == (shown, f"{shown} answers 404.", first_line)
    assert (
        kept[3].preamble
        == f"-----> Source: {url[: url.index('?') + 1]}".ljust(len("-----> Source: ") + 300, "*") + "\n"
    )
    assert json.loads(sent) == {"id": {"mine": url}, "message": f"{shown} answers 404."}


async def test_deliveries_of_before_the_migration_are_found_by_their_app(tmp_path: Path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shuttle.db")
    migrate_to(engine, "0013")
    at = datetime(2030, 1, 1, tzinfo=UTC)
    with engine.begin() as connection:
        connection.execute(
            apps.insert(), [{"app_id": f"app{n}", "job_name": f"j{n}", "created_at": at} for n in (1, 2)]
        )
        for n in (1, 2):
            connection.execute(builds.insert(), build_row(f"app{n}", n, at))
            receiver = {"build_uuid": f"u{n}", "place": 0, "kind": "http", "host": "h", "target": b"", "state": "done"}
            connection.execute(receivers.insert(), receiver)
            event = {"build_uuid": f"u{n}", "sequence": 1, "webhook_id": "m", "status": "queued", "body": b""}
            connection.execute(events.insert(), event | {"created_at": at})
        connection.exec_driver_sql("INSERT INTO deliveries (receiver_id, event_id, state) VALUES (1, 1, 'gave_up')")
        connection.exec_driver_sql("INSERT INTO deliveries (receiver_id, event_id, state) VALUES (2, 2, 'delivered')")
    engine.dispose()
    async with open_database(tmp_path) as database:
        await database.migrate()
        [row] = await database.run(find_deliveries, app_id="app2", build_id=None, state=None, limit=10)
    assert (row.delivery_id, row.app_id, row.state) == (2, "app2", "delivered")
