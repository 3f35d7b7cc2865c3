"""A ghost's job is deleted and its build triggered again, also if the process dies or an answer is lost midway."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shuttle.build import STOP_ENDINGS, Ending, State, StopCause
from shuttle.errors import JenkinsNotFoundError, JenkinsUnavailableError
from shuttle.jenkins import JenkinsBuild, QueueItem
from shuttle.lifecycle.run import pursue
from shuttle.lifecycle.stop import stop_build
from tests.unit.lifecycle.one_build import ITEM, NUMBER, OneBuild

GHOST = JenkinsBuild(NUMBER, building=True, result=None, queue_item=ITEM, ghost=True)
NOT_FOUND = JenkinsNotFoundError("Jenkins does not have it.")
OF_THIS_BUILD, OF_AN_EARLIER_BUILD = "ghost of this build", "ghost of an earlier build"

Deletion = Callable[["HauntedJob"], Awaitable[None]]


class HauntedJob:
    """The build's job in Jenkins, which has a ghost until it is deleted. `deletion` is what a deletion does."""

    def __init__(self, one: OneBuild, ghost: str, deletion: Deletion) -> None:
        self.one, self.ghost, self.deletion = one, ghost, deletion
        self.exists = self.haunted = True
        # Jenkins' item of this build, while it waits in the queue.
        self.item: int | None = ITEM if ghost == OF_AN_EARLIER_BUILD else None
        self.triggers = 0
        for call in ("build", "find_build", "newest_build", "waiting", "queue_item", "apply_job", "trigger"):
            one.jenkins.answers(call, getattr(self, call))
        one.jenkins.answers("delete_job", lambda _: self.deletion(self))

    async def build(self, *_: object) -> JenkinsBuild:
        if not (self.haunted and self.ghost == OF_THIS_BUILD):
            raise NOT_FOUND
        return GHOST

    async def find_build(self, *_: object) -> JenkinsBuild | None:
        return GHOST if self.haunted and self.ghost == OF_THIS_BUILD else None

    async def newest_build(self, *_: object) -> JenkinsBuild | None:
        if not self.exists:
            raise NOT_FOUND
        return GHOST if self.haunted else None

    async def waiting(self) -> dict[str, QueueItem]:
        if self.item is None:
            return {}
        why = "Build #7 is already in progress" if self.haunted else "Waiting for the next executor"
        return {self.one.build_uuid: QueueItem(self.item, why, cancelled=False, number=None, blocked=self.haunted)}

    async def queue_item(self, item: int, _: str) -> QueueItem:
        """Jenkins shows items for five minutes after they have left the queue."""
        return QueueItem(item, None, cancelled=True, number=None)

    async def apply_job(self, *_: object) -> None:
        self.exists = True

    async def trigger(self, *_: object) -> int:
        assert self.exists
        assert self.item is None, "Jenkins has the build already"
        self.triggers += 1
        self.item = 100 + self.triggers
        return self.item

    async def delete(self) -> None:
        self.exists, self.haunted, self.item = False, False, None


async def killed_before(_: HauntedJob) -> None:
    raise asyncio.CancelledError


async def killed_after(job: HauntedJob) -> None:
    await job.delete()
    raise asyncio.CancelledError


async def unanswered(job: HauntedJob) -> None:
    await job.delete()
    raise JenkinsUnavailableError("Jenkins is out of reach.")


async def refused(_: HauntedJob) -> None:
    raise JenkinsUnavailableError("Jenkins is still ending the job's running build.")


async def run_until_killed(one: OneBuild) -> Ending:
    """Run the build as the worker does."""
    async with asyncio.timeout(5):
        while True:
            ending = await pursue(one.build_uuid, one.services)
            if ending is not None:
                return ending


async def queued(one: OneBuild, ghost: str) -> None:
    await one.queued(number=NUMBER if ghost == OF_THIS_BUILD else None)


@pytest.mark.parametrize("ghost", [OF_THIS_BUILD, OF_AN_EARLIER_BUILD])
@pytest.mark.parametrize("first_deletion", [killed_before, killed_after, unanswered, refused])
async def test_build_is_triggered_again_once(one: OneBuild, ghost: str, first_deletion: Deletion):
    await queued(one, ghost)

    async def deletion(job: HauntedJob) -> None:
        job.deletion = HauntedJob.delete
        await first_deletion(job)

    job = HauntedJob(one, ghost, deletion)
    if first_deletion in {killed_before, killed_after}:
        with pytest.raises(asyncio.CancelledError):
            await run_until_killed(one)
    restarted = asyncio.create_task(run_until_killed(one))
    build = await one.until(lambda build: restarted.done() or build.queue_item == 101)
    assert (build.state, job.triggers, job.haunted) == (State.QUEUED, 1, False)
    await one.end(await one.claim(), exit_status=0)
    assert await restarted == Ending(State.SUCCEEDED)
    assert job.triggers == 1


@pytest.mark.parametrize("ghost", [OF_THIS_BUILD, OF_AN_EARLIER_BUILD])
async def test_process_dies_before_the_deletion_is_recorded(one: OneBuild, ghost: str, monkeypatch: pytest.MonkeyPatch):
    await queued(one, ghost)
    run, deleted = one.database.run, list[object]()

    async def deletion(job: HauntedJob) -> None:
        await job.delete()
        deleted.append(job)

    async def killed(*given: Any, **named: Any) -> Any:
        if deleted:
            deleted.clear()
            raise asyncio.CancelledError
        return await run(*given, **named)

    job = HauntedJob(one, ghost, deletion)
    monkeypatch.setattr(one.database, "run", killed)
    with pytest.raises(asyncio.CancelledError):
        await run_until_killed(one)
    restarted = asyncio.create_task(run_until_killed(one))
    await one.until(lambda build: restarted.done() or build.queue_item == 101)
    await one.end(await one.claim(), exit_status=0)
    assert await restarted == Ending(State.SUCCEEDED)
    assert job.triggers == 1


@pytest.mark.parametrize("first_deletion", [killed_before, killed_after])
async def test_stop_after_the_restart_is_the_end(one: OneBuild, first_deletion: Deletion):
    await queued(one, OF_THIS_BUILD)
    job = HauntedJob(one, OF_THIS_BUILD, first_deletion)
    with pytest.raises(asyncio.CancelledError):
        await run_until_killed(one)
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    assert await run_until_killed(one) == STOP_ENDINGS[StopCause.STOPPED]
    assert job.triggers == 0


@pytest.mark.parametrize("ghost", [OF_THIS_BUILD, OF_AN_EARLIER_BUILD])
async def test_stop_ends_a_build_although_jenkins_refuses_to_delete_the_job(one: OneBuild, ghost: str):
    await queued(one, ghost)
    HauntedJob(one, ghost, refused)
    running = asyncio.create_task(run_until_killed(one))
    await one.until(lambda build: build.waiting_for == "Jenkins: Jenkins is still ending the job's running build.")
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    assert await running == STOP_ENDINGS[StopCause.STOPPED]


async def test_ghost_that_is_claimed_first_keeps_its_job(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    await queued(one, OF_THIS_BUILD)
    monkeypatch.setattr("shuttle.lifecycle.claim_race._wait_for_claim", lambda *_: asyncio.Event().wait())
    job = HauntedJob(one, OF_THIS_BUILD, HauntedJob.delete)

    async def settled_then_claimed(*_: object) -> JenkinsBuild:
        await asyncio.sleep(0.03)  # longer than SHUTTLE_TRIGGER_SETTLE_SECONDS of the fixture
        await one.claim()
        return GHOST

    one.jenkins.answers("build", GHOST, settled_then_claimed)
    running = asyncio.create_task(run_until_killed(one))
    await one.until(lambda build: build.state is State.RUNNING and one.services.logs.find(one.build_uuid) is not None)
    assert job.exists
    running.cancel()
