"""Helpers for tests of the store: a database in a temporary folder, and builds to record in it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from shuttle.delivery import Attempt, DueDelivery, Outcome
from shuttle.lifecycle.build_spec import token_digest
from shuttle.outgoing.endpoints import EndpointKind
from shuttle.standing import Standing
from shuttle.store import Database
from shuttle.store.accept import Accepted
from shuttle.store.intake import Intake
from shuttle.store.migrate import bring_up_to_date
from shuttle.store.new_build import NewBuild, NewEndpoint, target_bytes
from shuttle.store.sqlite import SqliteDatabase
from shuttle.vault import Vault
from tests.support.clock import SetClock
from tests.support.migrated_database import write_migrated_database


@asynccontextmanager
async def open_database(folder: Path, clock: SetClock | None = None) -> AsyncIterator[SqliteDatabase]:
    """The database of the file `shuttle.db`, which is created if it is missing."""
    if not (folder / "shuttle.db").exists():
        await write_migrated_database(folder / "shuttle.db")
    database = SqliteDatabase(folder / "shuttle.db", clock or SetClock())
    try:
        yield database
    finally:
        await database.close()


async def record(
    database: Database, vault: Vault, new: NewBuild, content: bytes = b"request", *, queue_limit: int | None = 100
) -> Accepted:
    """Record a build like a POST with this content."""
    intake = Intake(database, database._clock)  # type: ignore[attr-defined]
    return await intake.record(new, queue_limit=queue_limit, same_request=partial(vault.matches, content))


def new_build(vault: Vault, app_id: str = "app", build_id: str = "1", **changes: Any) -> NewBuild:
    values: dict[str, Any] = {
        "standing": Standing.CONTROLLER,
        "build_uuid": changes.pop("build_uuid", None)
        or f"00000000-0000-4000-8000-{abs(hash((app_id, build_id))) % 10**12:012}",
        "app_id": app_id,
        "build_id": build_id,
        "job_name": f"job-of-{app_id}",
        "controller": "default",
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


def endpoint(vault: Vault, url: str) -> NewEndpoint:
    return NewEndpoint(EndpointKind.HTTP, url.split("/")[2], vault.seal(target_bytes(url, {})))


def migrate_to(engine: sa.Engine, revision: str) -> None:
    """Create the tables of an earlier revision."""
    config = Config()
    config.set_main_option("script_location", str(Path(bring_up_to_date.__code__.co_filename).parent / "migrations"))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def build_row(app_id: str, number: int, at: datetime, **changes: Any) -> dict[str, Any]:
    """The row of a failed build, with the columns that every revision has."""
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


def attempt_at(due: DueDelivery, clock: SetClock, outcome: Outcome, **fields: Any) -> Attempt:
    """An attempt of the delivery that took a tenth of a second."""
    return Attempt(
        delivery_id=due.delivery_id,
        started_at=clock.now(),
        began_steady_at=clock.steady(),
        took_seconds=0.1,
        outcome=outcome,
        **fields,
    )
