"""The migrations make exactly the tables that the code uses, and a start waits for them."""

import asyncio
import re
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from shuttle.store.migrate import migrate
from shuttle.store.tables import metadata
from tests.inprocess import running_shuttle


def test_migrations_and_tables_agree(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db")
    assert migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_migrating_twice_changes_nothing(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db")
    assert migrate(engine) == migrate(engine)
    engine.dispose()


def test_migrations_import_nothing_of_the_code():
    """What they made must not change when the code does."""
    versions = Path(migrate.__code__.co_filename).parent / "migrations" / "versions"
    for path in versions.glob("*.py"):
        imports = re.findall(r"^(?:from|import) (\w+)", path.read_text(), re.MULTILINE)
        assert "shuttle" not in imports, path.name


async def test_a_start_that_is_cancelled_waits_for_the_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """SQLite crashes the process when a connection is closed that a thread still uses."""
    loop, began, released = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def slow(engine: sa.Engine) -> str:
        loop.call_soon_threadsafe(began.set)
        assert released.wait(10)
        return migrate(engine)

    async def start() -> None:
        async with running_shuttle(tmp_path):
            pass

    monkeypatch.setattr("shuttle.app.migrate", slow)
    starting = asyncio.create_task(start())
    await began.wait()
    starting.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not starting.done()
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await starting
