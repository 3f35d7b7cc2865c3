"""Prepare and trigger: one POST for one build, whatever Jenkins answers and whatever happens meanwhile."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from shuttle.build import Build, State, StopCause
from shuttle.errors import (
    ForeignJobError,
    JenkinsNotFoundError,
    JenkinsRefusedError,
    JenkinsUnavailableError,
    JobNotReadyError,
)
from shuttle.jenkins import JenkinsBuild, QueueItem
from shuttle.lifecycle.stop import stop_build
from shuttle.lifecycle.trigger import trigger
from shuttle.store.transitions import undo_trigger
from tests.unit.lifecycle.one_build import ITEM, NUMBER, OneBuild

DOWN = JenkinsUnavailableError("Jenkins is out of reach.")
IN_QUEUE = QueueItem(ITEM, "Waiting for the next executor", cancelled=False, number=None)
# Longer than SHUTTLE_TRIGGER_SETTLE_SECONDS of the fixture.
SETTLED_SECONDS = 0.03


async def triggered(one: OneBuild) -> Build:
    async with asyncio.timeout(5):
        return await trigger(await one.row(), one.spec, one.services)


async def test_build_is_queued_with_its_item(one: OneBuild):
    await one.staging()
    one.jenkins.answers("trigger", ITEM)
    build = await triggered(one)
    assert (build.state, build.queue_item) == (State.QUEUED, ITEM)
    job, parameters = one.jenkins.called("trigger")[0]
    assert (job, parameters["BUILD_UUID"]) == ("job-of-app", one.build_uuid)
    assert [call[0] for call in one.jenkins.calls] == ["apply_job", "trigger"]


async def test_job_is_prepared_once_jenkins_answers(one: OneBuild):
    await one.staging()
    one.jenkins.answers("apply_job", DOWN, DOWN, None)
    one.jenkins.answers("trigger", ITEM)
    build = await triggered(one)
    assert (build.state, build.waiting_for) == (State.QUEUED, None)
    assert len(one.jenkins.called("apply_job")) == 3


async def test_foreign_job_is_not_triggered(one: OneBuild):
    await one.staging()
    one.jenkins.answers("apply_job", ForeignJobError("The job is not ours."))
    with pytest.raises(ForeignJobError):
        await triggered(one)
    assert (await one.row()).trigger_attempted_at is None
    assert one.jenkins.called("trigger") == []


@pytest.mark.parametrize("error", [JobNotReadyError("It is disabled."), JenkinsNotFoundError("There is no job.")])
async def test_job_that_queued_nothing_is_prepared_again_without_a_search(one: OneBuild, error: Exception):
    await one.staging()
    one.jenkins.answers("trigger", error, ITEM)
    assert (await triggered(one)).queue_item == ITEM
    assert [call[0] for call in one.jenkins.calls] == ["apply_job", "trigger", "apply_job", "trigger"]


@pytest.mark.parametrize("found", ["in the queue", "as a build"])
async def test_lost_answer_is_not_repeated_if_the_marker_is_found(one: OneBuild, found: str):
    await one.staging()
    one.jenkins.answers("trigger", DOWN)
    if found == "in the queue":
        one.jenkins.answers("waiting", {}, {one.build_uuid: IN_QUEUE})
    else:
        seen = JenkinsBuild(NUMBER, building=True, result=None, queue_item=ITEM)
        one.jenkins.answers("find_build", None, seen)
    build = await triggered(one)
    assert (build.state, build.queue_item) == (State.QUEUED, ITEM)
    assert build.build_number == (None if found == "in the queue" else NUMBER)
    assert len(one.jenkins.called("trigger")) == 1


async def test_build_is_triggered_again_once_the_marker_was_missing_for_the_settling_time(one: OneBuild):
    await one.staging()
    one.jenkins.answers("trigger", DOWN, ITEM)
    began_at = asyncio.get_running_loop().time()
    assert (await triggered(one)).queue_item == ITEM
    assert asyncio.get_running_loop().time() - began_at >= one.services.settings.shuttle_trigger_settle_seconds
    assert len(one.jenkins.called("trigger")) == 2


async def test_outage_restarts_the_settling_time(one: OneBuild):
    async def fail_late(*_: object) -> None:
        await asyncio.sleep(SETTLED_SECONDS)
        raise DOWN

    await one.triggered()
    one.jenkins.answers("waiting", {}, fail_late, {}, {one.build_uuid: IN_QUEUE})
    assert (await triggered(one)).queue_item == ITEM
    assert one.jenkins.called("trigger") == []


async def test_search_continues_after_a_restart_of_the_shuttle(one: OneBuild):
    """The row says that Jenkins may have the build."""
    await one.triggered()
    one.jenkins.answers("waiting", {one.build_uuid: IN_QUEUE})
    assert (await triggered(one)).queue_item == ITEM
    assert one.jenkins.called("trigger") == []


@pytest.mark.parametrize("answer", [{}, DOWN])
async def test_claim_ends_the_search(one: OneBuild, answer: Any):
    await one.triggered()
    searched = asyncio.Event()

    async def search(*_: object) -> Any:
        searched.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    one.jenkins.answers("waiting", search)
    searching = asyncio.create_task(triggered(one))
    await searched.wait()
    await one.claim()
    build = await searching
    assert (build.state, build.build_number) == (State.RUNNING, NUMBER)


async def test_claim_proves_a_trigger_whose_answer_does_not_come(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shuttle.lifecycle.claim_race._GRACE_SECONDS", 0)
    posted, never = asyncio.Event(), asyncio.Event()

    async def hang(*_: object) -> None:
        posted.set()
        await never.wait()

    await one.staging()
    one.jenkins.answers("trigger", hang)
    waiting = asyncio.create_task(triggered(one))
    await posted.wait()
    await one.claim()
    assert (await waiting).state is State.RUNNING
    assert len(one.jenkins.called("trigger")) == 1


async def test_stopped_build_is_not_triggered(one: OneBuild):
    """The stop came while the job was prepared. It ended the build: Jenkins cannot have it."""

    async def stop(*_: object) -> None:
        await stop_build(one.build_uuid, StopCause.STOPPED, one.services)

    await one.staging()
    one.jenkins.answers("apply_job", stop)
    assert (await triggered(one)).state is State.STOPPED
    assert one.jenkins.called("trigger") == []


async def test_build_that_is_stopped_during_the_search_is_not_triggered_again(one: OneBuild):
    await one.triggered()
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    build = await triggered(one)
    assert (build.state, build.stop_cause) == (State.STAGING, StopCause.STOPPED)
    assert [call[0] for call in one.jenkins.calls if call[0] in {"apply_job", "trigger"}] == []


async def test_build_whose_stop_a_killed_process_left_behind_is_not_triggered(one: OneBuild):
    """The killed process had searched for the marker of the stopped build, and undone the attempt to trigger it."""
    await one.triggered()
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    await one.database.run(undo_trigger, one.build_uuid)
    assert (await triggered(one)).state is State.STAGING
    assert one.jenkins.calls == []


@pytest.mark.parametrize("call", ["apply_job", "trigger"])
async def test_missing_permission_is_logged_once(one: OneBuild, call: str):
    await one.staging()
    missing = JenkinsRefusedError("The user lacks Job/Build.", permission="Job/Build")
    one.jenkins.answers("trigger", ITEM)
    one.jenkins.answers("find_build", None)
    one.jenkins.answers(call, missing, missing, ITEM)
    with capture_logs() as logged:
        assert (await triggered(one)).state is State.QUEUED
    assert [(line["event"], line["error"]) for line in logged] == [
        ("the user in JENKINS_URL lacks a permission", "The user lacks Job/Build.")
    ]


async def test_app_is_prepared_by_one_build_at_a_time(one: OneBuild):
    """The lock of the job is held for preparation and trigger: the cleanup of a deleted app removes jobs."""
    await one.staging()
    one.jenkins.answers("trigger", ITEM)
    async with one.services.signals.job_lock("job-of-app"):
        waiting = asyncio.create_task(triggered(one))
        await asyncio.sleep(0)
        await one.row()
        assert one.jenkins.calls == []
    assert (await waiting).state is State.QUEUED


async def test_waiting_for_says_that_the_job_is_being_deleted(one: OneBuild):
    """Jenkins ends the job's running build first, which takes up to 15 seconds."""
    await one.staging()
    one.jenkins.answers("trigger", ITEM)
    async with one.services.signals.job_lock("job-of-app"):
        waiting = asyncio.create_task(triggered(one))
        await one.until(lambda build: build.waiting_for == "Jenkins: the app's job is being deleted.")
    assert (await waiting).waiting_for is None
