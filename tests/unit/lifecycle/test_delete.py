"""Deleted apps: their builds stop at once, their Jenkins job goes once no build needs it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from shuttle.build import Ending, State
from shuttle.errors import ForeignJobError, JenkinsUnavailableError, StoreError
from shuttle.lifecycle.delete import AppCleanup, delete_app
from shuttle.standing import Standing
from shuttle.store.apps import deleted_apps
from shuttle.store.transitions import finish_build, mark_archived
from tests.support.shuttle_store import new_build, record
from tests.unit.lifecycle.one_build import OneBuild

DOWN = JenkinsUnavailableError("Jenkins is out of reach.")
DELETED = ["job-of-app"]


@pytest.fixture
async def cleanup(one: OneBuild, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AppCleanup]:
    """A running cleanup that repeats failures soon."""
    monkeypatch.setattr("shuttle.lifecycle.delete._RETRY_SECONDS", 0.005)
    cleanup = AppCleanup(one.services)
    task = asyncio.create_task(cleanup.run())
    yield cleanup
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def end(one: OneBuild) -> None:
    await one.database.run(finish_build, one.build_uuid, Ending(State.SUCCEEDED))
    await one.database.run(mark_archived, one.build_uuid)


async def until(one: OneBuild, condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await one.row()


async def marked(one: OneBuild) -> list[str]:
    return [app.app_id for app in await one.database.run(deleted_apps)]


async def delete(one: OneBuild, app_id: str = "app") -> None:
    await delete_app(app_id, Standing.CONTROLLER, one.services)


async def test_job_of_a_deleted_app_is_removed(one: OneBuild, cleanup: AppCleanup):
    await end(one)
    await delete(one)
    await until(one, lambda: one.jenkins.called("delete_job"))
    assert one.jenkins.called("delete_job") == [DELETED]
    async with asyncio.timeout(5):
        while await marked(one):
            pass


async def test_deletion_stops_the_builds_of_the_app(one: OneBuild):
    await one.staging()
    await delete(one)
    assert (await one.row()).state is State.STOPPED


async def test_unknown_app_can_be_deleted(one: OneBuild):
    await delete(one, "nobody-knows-it")
    assert await marked(one) == []


async def test_job_stays_until_the_last_log_of_the_app_is_archived(one: OneBuild, cleanup: AppCleanup):
    await one.queued()
    await delete(one)
    await one.database.run(finish_build, one.build_uuid, Ending(State.SUCCEEDED))
    for _ in range(20):
        await one.row()
    assert one.jenkins.called("delete_job") == []
    await one.database.run(mark_archived, one.build_uuid)
    await until(one, lambda: one.jenkins.called("delete_job") == [DELETED])


async def test_later_build_of_the_app_keeps_the_job(one: OneBuild):
    await end(one)
    await delete(one)
    one.clock.forward(1)
    await record(one.database, one.services.vault, new_build(one.services.vault, build_id="2"))
    assert await marked(one) == []


async def test_job_is_not_removed_while_it_is_triggered(one: OneBuild, cleanup: AppCleanup):
    await end(one)
    async with one.services.signals.job_lock("job-of-app"):
        await delete(one)
        for _ in range(20):
            await one.row()
        assert one.jenkins.calls == []
    await until(one, lambda: one.jenkins.called("delete_job") == [DELETED])


async def test_foreign_job_is_left_alone(one: OneBuild, cleanup: AppCleanup):
    await end(one)
    one.jenkins.answers("delete_job", ForeignJobError("The job is not ours."))
    await delete(one)
    async with asyncio.timeout(5):
        while await marked(one):
            pass
    assert one.jenkins.called("delete_job") == [DELETED]


async def test_failed_removal_is_repeated_and_each_reason_logged_once(one: OneBuild):
    await end(one)
    await delete(one)
    cleanup = AppCleanup(one.services)
    other = JenkinsUnavailableError("Jenkins answered 500.")
    one.jenkins.answers("delete_job", DOWN, DOWN, other, other, None)
    with capture_logs() as logs:
        assert [await cleanup._remove_jobs() for _ in range(5)] == [False, False, False, False, True]
    assert [entry["error"] for entry in logs] == ["Jenkins is out of reach.", "Jenkins answered 500."]
    assert await marked(one) == []


async def test_job_that_cannot_be_removed_does_not_keep_others(one: OneBuild):
    await end(one)
    vault = one.services.vault
    other = new_build(vault, app_id="other")
    await record(one.database, vault, other)
    await one.database.run(finish_build, other.build_uuid, Ending(State.SUCCEEDED))
    await one.database.run(mark_archived, other.build_uuid)
    for app_id in ("app", "other"):
        await delete(one, app_id)
    one.jenkins.answers("delete_job", DOWN, None)
    assert not await AppCleanup(one.services)._remove_jobs()
    assert await marked(one) == ["app"]


async def test_database_that_does_not_answer_delays_the_removal(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    await end(one)
    await delete(one)
    run, left = one.database.run, [StoreError("The database is away.")]

    async def run_later(*given: Any, **named: Any) -> Any:
        if left:
            raise left.pop()
        return await run(*given, **named)

    monkeypatch.setattr(one.database, "run", run_later)
    cleanup = AppCleanup(one.services)
    assert not await cleanup._remove_jobs()
    assert await cleanup._remove_jobs()
    assert one.jenkins.called("delete_job") == [DELETED]


async def test_same_reason_is_logged_again_for_a_later_deletion(one: OneBuild):
    await end(one)
    cleanup = AppCleanup(one.services)
    with capture_logs() as logs:
        for _ in range(2):
            await delete(one)
            one.jenkins.answers("delete_job", DOWN, None)
            assert [await cleanup._remove_jobs() for _ in range(3)] == [False, True, True]
    assert len(logs) == 2
