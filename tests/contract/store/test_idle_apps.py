"""Idle apps: which apps count as idle, and that marking them stops nothing."""

from datetime import timedelta

import pytest

from shuttle.build import Ending, State
from shuttle.standing import Standing
from shuttle.store import Database
from shuttle.store.apps import deleted_apps, mark_app_deleted, unmark_deleted_app
from shuttle.store.builds import find_build
from shuttle.store.idle_apps import idle_apps, mark_idle_apps
from shuttle.store.tables import builds
from shuttle.store.transitions import finish_build
from shuttle.vault import Vault
from tests.support.clock import SetClock
from tests.support.shuttle_store import build_row, new_build, record

DAY_SECONDS = 86_400


async def accepted(database: Database, vault: Vault, app_id: str, build_id: str, pipeline: str = "script") -> str:
    return (await record(database, vault, new_build(vault, app_id, build_id, pipeline=pipeline))).build.build_uuid


async def ended(database: Database, vault: Vault, app_id: str, build_id: str, pipeline: str = "script") -> None:
    build_uuid = await accepted(database, vault, app_id, build_id, pipeline)
    assert await database.run(finish_build, build_uuid, Ending(State.FAILED, "x", "y"))


async def idle_ids(database: Database, clock: SetClock, after: str = "") -> list[str]:
    before = clock.now() - timedelta(days=30)
    return [app.app_id for app in await database.run(idle_apps, pipeline="script", before=before, limit=9, after=after)]


async def test_app_is_idle_while_its_newest_build_ended_long_ago(database: Database, vault: Vault, clock: SetClock):
    ended_at = clock.now()
    for app_id in ("a", "b", "busy", "late", "moved"):
        await ended(database, vault, app_id, "1")
    await ended(database, vault, "other", "1", "docker-image")
    clock.forward(2 * DAY_SECONDS)
    await ended(database, vault, "late", "2")
    await ended(database, vault, "moved", "2", "docker-image")
    running = await accepted(database, vault, "busy", "2")
    assert await idle_ids(database, clock) == []
    clock.forward(29 * DAY_SECONDS)
    assert await idle_ids(database, clock) == ["a", "b"]
    assert await idle_ids(database, clock, after="a") == ["b"]
    before = clock.now() - timedelta(days=30)
    marked = await database.run(mark_idle_apps, pipeline="script", before=before, limit=1)
    assert [(app.app_id, app.ended_at) for app in marked] == [("a", ended_at)]
    assert await idle_ids(database, clock) == ["b"]
    build = await database.run(find_build, running)
    assert build is not None
    assert build.stop_cause is None


async def test_app_with_an_open_record_after_its_last_build_is_not_idle(
    database: Database, vault: Vault, clock: SetClock
):
    await ended(database, vault, "a", "1")
    clock.forward(31 * DAY_SECONDS)
    assert await idle_ids(database, clock) == ["a"]
    open_record = build_row("a", 2, clock.now(), api="record", state="running", finished_at=None)
    await database.run(lambda tx: tx.execute(builds.insert(), open_record))
    assert await idle_ids(database, clock) == []


async def test_app_whose_job_was_deleted_is_idle_again_after_another_build(
    database: Database, vault: Vault, clock: SetClock
):
    await ended(database, vault, "a", "1")
    clock.forward(31 * DAY_SECONDS)
    await database.run(mark_idle_apps, pipeline="script", before=clock.now(), limit=1)
    await database.run(unmark_deleted_app, "a")
    assert await idle_ids(database, clock) == []
    clock.forward(1)
    await ended(database, vault, "a", "2")
    clock.forward(31 * DAY_SECONDS)
    assert await idle_ids(database, clock) == ["a"]


@pytest.mark.parametrize("seconds", [1, -600], ids=["later", "by a clock that is behind"])
async def test_build_that_is_accepted_later_removes_the_mark(
    database: Database, vault: Vault, clock: SetClock, seconds: float
):
    await ended(database, vault, "a", "1")
    clock.forward(31 * DAY_SECONDS)
    before = clock.now() - timedelta(days=30)
    await database.run(mark_idle_apps, pipeline="script", before=before, limit=1)
    clock.set_by(seconds)
    await accepted(database, vault, "a", "2")
    assert await database.run(deleted_apps) == []


async def test_deletion_by_a_clock_that_is_behind_is_later_than_the_build(
    database: Database, vault: Vault, clock: SetClock
):
    await ended(database, vault, "a", "1")
    clock.set_by(-600)
    await database.run(mark_app_deleted, "a", Standing.CONTROLLER)
    assert [app.app_id for app in await database.run(deleted_apps)] == ["a"]
