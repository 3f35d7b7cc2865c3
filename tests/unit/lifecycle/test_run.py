"""One build's flow: which step or limit ends it, and what is recorded afterwards."""

import asyncio
from typing import Any

import pytest

from shuttle.build import STOP_ENDINGS, Ending, State, StopCause
from shuttle.errors import (
    BuildFailedError,
    ForeignJobError,
    JenkinsNotFoundError,
    JenkinsUnavailableError,
    ObjectStoreError,
)
from shuttle.jenkins import JenkinsBuild
from shuttle.lifecycle.run import finalize, pursue, run
from shuttle.lifecycle.stop import stop_build
from shuttle.logs.spool import Spool, SpoolError
from shuttle.objects.names import log_object
from shuttle.store.transitions import finish_build
from tests.unit.lifecycle.one_build import ITEM, NUMBER, OneBuild

DOWN = JenkinsUnavailableError("Jenkins is out of reach.")
RUNS = JenkinsBuild(NUMBER, building=True, result=None)
OVER = JenkinsBuild(NUMBER, building=False, result="ABORTED")
GHOST = JenkinsBuild(NUMBER, building=True, result=None, ghost=True)
FAILED = Ending(State.FAILED, "archive_unknown", "The source is no archive.")


async def pursued(one: OneBuild) -> Ending | None:
    async with asyncio.timeout(5):
        return await pursue(one.build_uuid, one.services)


async def test_build_waits_for_a_slot_without_a_task(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shuttle.lifecycle.run.stage", lambda *_: asyncio.sleep(0))
    assert await pursued(one) is None
    assert one.jenkins.calls == []


async def test_failed_source_ends_the_build_with_its_reason(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    async def fail(*_: object) -> None:
        raise BuildFailedError(str(FAILED.reason), str(FAILED.message))

    monkeypatch.setattr("shuttle.lifecycle.run.stage", fail)
    assert await pursued(one) == FAILED


async def test_foreign_job_ends_the_build(one: OneBuild):
    await one.staging()
    one.jenkins.answers("apply_job", ForeignJobError("The job is not ours."))
    assert await pursued(one) == Ending(State.FAILED, "foreign_job", "The job is not ours.")


async def test_foreign_job_in_place_of_that_of_a_ghost_ends_the_build(one: OneBuild):
    await one.queued(number=NUMBER)
    one.jenkins.answers("build", GHOST)
    one.jenkins.answers("delete_job", ForeignJobError("The job is not ours."))
    assert await pursued(one) == Ending(State.FAILED, "foreign_job", "The job is not ours.")


async def test_ghost_leaves_the_build_to_be_triggered_again(one: OneBuild):
    await one.queued(number=NUMBER)
    one.jenkins.answers("build", GHOST)
    assert await pursued(one) is None
    assert (await one.row()).state is State.STAGING


async def test_stop_ends_a_build_whose_job_cannot_be_prepared(one: OneBuild):
    """Jenkins is out of reach, and cannot have the build."""
    await one.staging()
    one.jenkins.answers("apply_job", DOWN)
    flow = asyncio.create_task(pursued(one))
    await one.until(lambda build: build.waiting_for)
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    assert await flow is None
    assert (await one.row()).state is State.STOPPED


async def test_build_that_was_stopped_while_its_marker_was_searched_ends_stopped(one: OneBuild):
    await one.triggered()
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    assert await pursued(one) == STOP_ENDINGS[StopCause.STOPPED]


async def test_build_ends_once_its_supervisor_has_reported(one: OneBuild):
    await one.staging()
    one.jenkins.answers("trigger", ITEM)
    one.jenkins.answers("queue_item", JenkinsNotFoundError("Forgotten."))
    one.jenkins.answers("find_build", RUNS)
    one.jenkins.answers("build", RUNS)
    flow = asyncio.create_task(pursued(one))
    await one.until(lambda build: build.build_number)
    await one.end(await one.claim(), exit_status=0)
    assert await flow == Ending(State.SUCCEEDED)


async def test_deadline_ends_a_build_that_ignores_its_stop(one: OneBuild):
    await one.queued(number=NUMBER)
    one.jenkins.answers("build", RUNS)
    one.clock.forward(3600)
    assert await pursued(one) == STOP_ENDINGS[StopCause.DEADLINE]


async def test_build_whose_log_cannot_be_written_ends_once_jenkins_confirms_the_stop(
    one: OneBuild, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shuttle.lifecycle.run._POLL_SECONDS", 0.001)
    claimed = await one.running()
    build_log = await one.services.logs.open(claimed.build_uuid)
    assert build_log is not None
    build_log.broken = SpoolError("The disk is full.")
    one.jenkins.answers("build", DOWN, RUNS, OVER)
    assert await pursued(one) == STOP_ENDINGS[StopCause.SPOOL_UNWRITABLE]
    assert (await one.row()).stop_cause is StopCause.SPOOL_UNWRITABLE
    assert len(one.jenkins.called("build")) == 3


async def test_ending_is_recorded_and_the_log_archived(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    async def fail(*_: object) -> None:
        raise BuildFailedError(str(FAILED.reason), str(FAILED.message))

    monkeypatch.setattr("shuttle.lifecycle.run.stage", fail)
    await run(one.build_uuid, one.services)
    build = await one.row()
    assert (build.state, build.reason, build.archived_at is not None) == (State.FAILED, "archive_unknown", True)
    assert await one.services.objects.head(log_object(one.build_uuid)) is not None


async def test_first_ending_of_a_build_is_kept(one: OneBuild):
    """A stop ended it while the flow found another end."""
    await one.staging()
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    await finalize(one.build_uuid, FAILED, one.services)
    build = await one.row()
    assert (build.state, build.archived_at is not None) == (State.STOPPED, True)


async def test_log_of_an_ended_build_is_closed_although_the_answer_to_its_end_was_lost(one: OneBuild):
    await one.running()
    assert await one.services.logs.open(one.build_uuid) is not None
    await one.database.run(finish_build, one.build_uuid, FAILED)
    await finalize(one.build_uuid, FAILED, one.services)
    assert not one.services.logs._logs


async def test_build_without_an_ending_is_left_as_it_is(one: OneBuild):
    await one.staging()
    await finalize(one.build_uuid, None, one.services)
    assert (await one.row()).state is State.STAGING


async def test_archiving_waits_for_a_full_disk(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    append, left = Spool.append, [SpoolError("No space left on device.")] * 2

    def append_later(spool: Spool, content: bytes) -> None:
        if left:
            raise left.pop()
        append(spool, content)

    monkeypatch.setattr(Spool, "append", append_later)
    await finalize(one.build_uuid, FAILED, one.services)
    assert left == []
    assert await one.services.objects.head(log_object(one.build_uuid)) is not None


async def test_archiving_waits_for_the_object_store(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    put, left = one.services.objects.put, [ObjectStoreError("It is out of space.")] * 2

    async def put_later(*given: Any, **named: Any) -> None:
        if left:
            raise left.pop()
        await put(*given, **named)

    monkeypatch.setattr(one.services.objects, "put", put_later)
    await finalize(one.build_uuid, FAILED, one.services)
    assert left == []
    assert await one.services.objects.head(log_object(one.build_uuid)) is not None
