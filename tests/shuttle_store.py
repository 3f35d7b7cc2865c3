"""A real SQLite store in a temporary folder, and builds to put into it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from cryptography.fernet import Fernet

from shuttle.lifecycle.plan import token_digest
from shuttle.standing import Standing
from shuttle.store.accept import NewBuild, NewParty, target_bytes
from shuttle.store.migrate import migrate
from shuttle.store.sqlite import SqliteDatabase
from shuttle.store.store import Store
from shuttle.vault import Vault
from tests.clock import SetClock


@asynccontextmanager
async def open_store(folder: Path, clock: SetClock | None = None, vault: Vault | None = None) -> AsyncIterator[Store]:
    database = SqliteDatabase(folder / "shuttle.db")
    migrate(database.engine)
    database.start()
    store = Store(
        database, vault or Vault([Fernet.generate_key().decode()]), clock or SetClock(), on_event=lambda: None
    )
    try:
        yield store
    finally:
        await store.close()
        await database.close()


def new_build(vault: Vault, app_id: str = "app", build_id: str = "1", **changes: Any) -> NewBuild:
    values: dict[str, Any] = {
        "standing": Standing.CONTROLLER,
        "build_uuid": changes.pop("build_uuid", None)
        or f"00000000-0000-4000-8000-{abs(hash((app_id, build_id))) % 10**12:012}",
        "app_id": app_id,
        "build_id": build_id,
        "job_name": f"job-of-{app_id}",
        "controller": "",
        "plan": vault.seal(b"{}"),
        "token_digest": token_digest("token"),
        "request_fingerprint": vault.fingerprint(b"request"),
        "metadata_json": "null",
        "human_readable_info": None,
        "labels": {},
        "pipeline": "script",
        "destinations": (),
        "source_url": "https://example.org/a.tgz",
        "timeout_seconds": 60,
        "deadline_seconds": 3600,
    }
    return NewBuild(**(values | changes))


def party(vault: Vault, url: str) -> NewParty:
    return NewParty("http", url.split("/")[2], vault.seal(target_bytes(url, {})))


def migrate_to(engine: sa.Engine, revision: str) -> None:
    """Make the tables as an earlier version had them."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__code__.co_filename).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def build_row(app_id: str, number: int, at: datetime, **changes: Any) -> dict[str, Any]:
    """The row of a failed build, in columns that every version had."""
    texts = ("request_fingerprint", "source_url")
    instants = ("accepted_at", "deadline_at", "finished_at", "archived_at")
    row: dict[str, Any] = {
        "build_uuid": f"u{number}",
        "build_id": str(number),
        "app_id": app_id,
        "serial_key": app_id,
        "plan": b"",
    }
    row |= {"labels": {}, "destinations": [], "pipeline": "script", "state": "failed", "timeout_seconds": 1}
    return row | dict.fromkeys(texts, "") | dict.fromkeys(instants, at) | changes
