"""A failed build resumes by itself: when, how often, and what prevents it."""

import asyncio
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from shuttle.build import STOP_ENDINGS, Api, Build, Ending, State, StopCause
from shuttle.errors import ObjectStoreError
from shuttle.lifecycle.accept import Acceptance, AcceptedBuild
from shuttle.lifecycle.auto_resume import AutoResumes
from shuttle.lifecycle.build_spec import read_spec
from shuttle.lifecycle.delete import delete_app
from shuttle.lifecycle.stop import stop_build, stop_pair
from shuttle.objects.names import artifact_object
from shuttle.request import AutoResume, ResumeRequest
from shuttle.standing import Standing
from shuttle.store.agent import ArtifactLimits
from shuttle.store.apps import deleted_apps
from shuttle.store.auto_resumes import waiting_resumes
from shuttle.store.builds import Artifact
from shuttle.store.record_failures import FailureReport, record_failure
from shuttle.store.record_files import record_file
from shuttle.store.records import children_of, successor_of
from shuttle.store.tables import builds
from shuttle.store.transitions import finish_build
from shuttle.store.tx import Tx
from tests.unit.lifecycle.one_build import OneBuild

FAILED = Ending(State.FAILED, "build_failed", "The build failed.")
RETRYABLE = FailureReport(None, "quota", "The account has no room.", retryable=True)
LASTING = FailureReport(None, "syntax", "The template is wrong.")


class Resuming:
    """Builds of one app, and the part of a worker that resumes them."""

    def __init__(self, one: OneBuild) -> None:
        self.one = one
        self.acceptance = Acceptance(one.services)
        self.begun: list[AcceptedBuild] = []
        self.resumes = AutoResumes(one.services, self.acceptance, self.begun.append)

    async def accept(self, build_id: str = "1", **fields: Any) -> Build:
        body = {"source": {"url": "https://example.org/a.tgz"}, "pipeline": "script", **fields}
        accepted = await self.acceptance.accept("shop", build_id, json.dumps(body).encode(), Standing.CONTROLLER)
        return accepted.build

    async def failed(self, *reports: FailureReport, ending: Ending = FAILED, **auto_resume: int) -> Build:
        """A build with `auto_resume` whose process has reported these failures, one by default."""
        build = await self.accept(auto_resume=auto_resume)
        await self.fail(build, *(reports or (RETRYABLE,)), ending=ending)
        return build

    async def fail(self, build: Build, *reports: FailureReport, ending: Ending = FAILED) -> None:
        for report in reports:
            await self.one.database.run(record_failure, build.build_uuid, report)
        await self.one.database.run(finish_build, build.build_uuid, ending)

    async def pass_time(self, seconds: float = 3600) -> None:
        """Let time pass, and the resumes that are due end."""
        await self.look()
        self.one.clock.forward(seconds)
        self.resumes.begin_due()
        await asyncio.gather(*self.resumes.tasks)

    async def look(self) -> None:
        self.resumes.add(await self.one.database.run(waiting_resumes))

    async def successor(self, build: Build) -> Build | None:
        return await self.one.database.run(successor_of, build.build_uuid)

    async def is_planned(self) -> bool:
        return bool(await self.one.database.run(waiting_resumes))


def _run(tx: Tx, build_uuid: str) -> None:
    running = {"state": State.RUNNING.value, "trigger_attempted_at": tx.now.at}
    tx.execute(builds.update().where(builds.c.build_uuid == build_uuid).values(running))


@pytest.fixture
def shop(one: OneBuild) -> Resuming:
    return Resuming(one)


async def test_a_failed_build_is_resumed_after_the_time_and_no_earlier(shop: Resuming):
    build = await shop.failed(after_seconds=60)
    await shop.pass_time(59)
    assert await shop.successor(build) is None
    await shop.pass_time(1)
    successor = await shop.successor(build)
    assert successor is not None
    assert (successor.build_id, successor.record) == (
        "1-r1",
        {"resume": {"resume_from_state": 0, "request_source": "auto_resume"}},
    )
    assert [accepted.build.build_uuid for accepted in shop.begun] == [successor.build_uuid]
    assert not await shop.is_planned()


async def test_the_plan_survives_a_restart(one: OneBuild):
    build = await Resuming(one).failed(after_seconds=60)
    after = Resuming(one)
    await after.pass_time()
    assert await after.successor(build) is not None


async def test_attempts_are_those_of_the_whole_chain(shop: Resuming):
    build: Build | None = await shop.failed(after_seconds=60, attempts=2)
    ids = []
    for _ in range(3):
        assert build is not None
        await shop.pass_time()
        build = await shop.successor(build)
        if build is None:
            break
        ids.append(build.build_id)
        await shop.fail(build, RETRYABLE)
    assert ids == ["1-r1", "1-r1-r1"]
    assert not await shop.is_planned()


async def test_a_resume_by_hand_takes_no_attempt(shop: Resuming):
    build = await shop.failed(after_seconds=60, attempts=1)
    by_hand = await shop.acceptance.accept_resume("shop", "2", ResumeRequest("1"), b"by hand", Standing.CONTROLLER)
    spec = await read_spec(by_hand.build.build_uuid, shop.one.database, shop.one.services.vault)
    assert spec.request.auto_resume == AutoResume(after_seconds=60, attempts=1)
    assert not await shop.is_planned()
    await shop.fail(by_hand.build, LASTING)
    await shop.pass_time()
    successor = await shop.successor(build)
    assert successor is not None
    assert successor.build_uuid == by_hand.build.build_uuid, "there is no second one"


@pytest.mark.parametrize(
    ("reports", "ending"),
    [
        pytest.param((LASTING,), FAILED, id="not marked"),
        pytest.param((RETRYABLE, LASTING), FAILED, id="the last one is not marked"),
        pytest.param((RETRYABLE,), Ending(State.STOPPED, "stopped", "It was stopped."), id="stopped"),
        pytest.param((RETRYABLE,), Ending(State.SUCCEEDED), id="succeeded"),
    ],
)
async def test_other_ends_are_not_resumed(shop: Resuming, reports: tuple[FailureReport, ...], ending: Ending):
    build = await shop.accept(auto_resume={})
    await shop.one.database.run(_run, build.build_uuid)
    await shop.fail(build, *reports, ending=ending)
    assert not await shop.is_planned()


async def test_a_time_out_that_was_marked_is_resumed(shop: Resuming):
    await shop.failed(ending=Ending(State.TIMEDOUT, "timeout", "It took too long."))
    assert await shop.is_planned()


@pytest.mark.parametrize(
    ("reports", "is_resumed"),
    [
        pytest.param((None, RETRYABLE), True, id="one has succeeded"),
        pytest.param((RETRYABLE, RETRYABLE), True, id="both may succeed later"),
        pytest.param((LASTING, RETRYABLE), False, id="one will fail again"),
    ],
)
async def test_each_platform_that_failed_decides(
    shop: Resuming, reports: tuple[FailureReport | None, ...], is_resumed: bool
):
    build = await shop.accept(platforms=["aws", "gcp"], auto_resume={})
    run = shop.one.database.run
    for child, report in zip(await run(children_of, build.build_uuid), reports, strict=True):
        await run(_run, child.build_uuid)
        if report is None:
            await run(finish_build, child.build_uuid, Ending(State.SUCCEEDED))
        else:
            await run(record_failure, child.build_uuid, report)
    await shop.fail(build, ending=Ending(State.FAILED, "platform_failed", "Some have failed."))
    assert await shop.is_planned() is is_resumed


@pytest.mark.parametrize("by", ["deletion of the app", "stop of the build"])
async def test_the_plan_is_cancelled(shop: Resuming, by: str):
    build = await shop.failed(after_seconds=60)
    await shop.look()
    if by == "deletion of the app":
        await delete_app("shop", Standing.CONTROLLER, shop.one.services)
    else:
        assert await stop_pair("shop", "1", Standing.CONTROLLER, shop.one.services) is Api.NEW
        assert await stop_pair("shop", "1", Standing.CONTROLLER, shop.one.services) is None
    await shop.pass_time()
    assert await shop.successor(build) is None
    assert not await shop.is_planned()


@pytest.mark.parametrize("by", ["deletion of the app", "stop of the build", None])
async def test_a_stop_counts_although_the_time_limit_is_already_stopping_the_build(shop: Resuming, by: str | None):
    build = await shop.accept(auto_resume={})
    await shop.one.database.run(_run, build.build_uuid)
    await stop_build(build.build_uuid, StopCause.TIMEOUT, shop.one.services)
    if by == "deletion of the app":
        await delete_app("shop", Standing.CONTROLLER, shop.one.services)
    elif by == "stop of the build":
        assert await stop_pair("shop", "1", Standing.CONTROLLER, shop.one.services) is Api.NEW
    await shop.fail(build, RETRYABLE, ending=STOP_ENDINGS[StopCause.TIMEOUT])
    assert await shop.is_planned() is (by is None)


@pytest.mark.parametrize(("newer_fails", "is_resumed"), [(False, False), (True, True)])
async def test_a_newer_build_replaces_the_resume_unless_it_fails(shop: Resuming, newer_fails: bool, is_resumed: bool):
    build = await shop.failed(after_seconds=60)
    newer = await shop.accept("2")
    if newer_fails:
        await shop.fail(newer)
    with capture_logs() as logs:
        await shop.pass_time()
    assert (await shop.successor(build) is not None, await shop.is_planned()) == (is_resumed, False)
    refusals = [entry["error"] for entry in logs if entry["event"] == "a build is not resumed automatically"]
    assert refusals == ([] if is_resumed else ["Build 2 of the app is newer."])


@pytest.mark.parametrize("by", ["deletion of the app", "stop of the build", "newer build", "another resume"])
async def test_what_happens_while_the_files_are_read_counts(shop: Resuming, by: str, monkeypatch: pytest.MonkeyPatch):
    """A directory store reads every byte of what the failed build left: that takes minutes."""
    build = await shop.failed(after_seconds=60)

    async def meanwhile(*_: Any) -> None:
        monkeypatch.undo()
        if by == "deletion of the app":
            await delete_app("shop", Standing.CONTROLLER, shop.one.services)
        elif by == "stop of the build":
            assert await stop_pair("shop", "1", Standing.CONTROLLER, shop.one.services) is Api.NEW
        elif by == "newer build":
            await shop.accept("2")
        else:  # this process was frozen: another replica took the app, and its resume has failed already
            of_other = ResumeRequest("1", automatic=True)
            other = await Acceptance(shop.one.services).accept_resume(
                "shop", None, of_other, b"of the other replica", Standing.CONTROLLER
            )
            await shop.fail(other.build, LASTING)

    monkeypatch.setattr("shuttle.lifecycle.again.check_files", meanwhile)
    await shop.pass_time()
    successor = await shop.successor(build)
    assert (successor and successor.state) == (State.FAILED if by == "another resume" else None)
    assert shop.begun == []
    assert not await shop.is_planned()
    deleted = [app.app_id for app in await shop.one.database.run(deleted_apps)]
    assert deleted == (["shop"] if by == "deletion of the app" else [])


def _leave_file(tx: Tx, build_uuid: str) -> None:
    file = Artifact("disk", 4, sha256(b"disk").hexdigest(), "application/octet-stream")
    record_file(tx, build_uuid, file, ArtifactLimits(10, 1000), state_code=20)


async def test_a_missing_file_ends_the_plan_and_is_logged_once(shop: Resuming):
    build = await shop.accept(auto_resume={"after_seconds": 60})
    await shop.one.database.run(_leave_file, build.build_uuid)
    await shop.fail(build, RETRYABLE)
    with capture_logs() as logs:
        await shop.pass_time()
        await shop.pass_time()
    assert [(entry["event"], entry["error"]) for entry in logs if entry["log_level"] == "warning"] == [
        (
            "a build is not resumed automatically",
            "The artifact disk is not, or no longer, in the object store.",
        )
    ]
    assert await shop.successor(build) is None
    assert not await shop.is_planned()


async def test_the_resume_waits_for_the_object_store(shop: Resuming, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    build = await shop.accept(auto_resume={"after_seconds": 60})
    await shop.one.database.run(_leave_file, build.build_uuid)
    await shop.fail(build, RETRYABLE)
    objects, file = shop.one.services.objects, tmp_path / "disk"

    def unavailable(*_: Any) -> None:
        raise ObjectStoreError("The object store does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(objects, "head", unavailable)
        await shop.pass_time()
    assert (await shop.successor(build), await shop.is_planned()) == (None, True)
    file.write_bytes(b"disk")
    await objects.put(artifact_object(build.build_uuid, "disk"), file, content_type="application/octet-stream")
    await shop.pass_time()
    assert await shop.successor(build) is not None
