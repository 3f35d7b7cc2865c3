"""A triggered build until its claim: each state in Jenkins, a vanished item, a ghost, a claim that comes late."""

import asyncio
from typing import Any

import pytest

from shuttle.build import Ending, State, StopCause
from shuttle.errors import JenkinsNotFoundError, JenkinsUnavailableError
from shuttle.jenkins import JenkinsBuild, QueueItem
from shuttle.lifecycle.stop import stop_build
from shuttle.lifecycle.until_claimed import Claimed, TriggerAgain, until_claimed_or_over
from shuttle.store.transitions import record_waiting
from tests.unit.lifecycle.one_build import ITEM, NUMBER, OneBuild

DOWN = JenkinsUnavailableError("Jenkins is out of reach.")
NOT_FOUND = JenkinsNotFoundError("Jenkins does not have it.")
IN_QUEUE = QueueItem(ITEM, "Waiting for the next executor", cancelled=False, number=None)
BLOCKED = QueueItem(ITEM, "Build #7 is already in progress", cancelled=False, number=None, blocked=True)
STARTED = QueueItem(ITEM, None, cancelled=False, number=NUMBER)
CANCELLED = QueueItem(ITEM, None, cancelled=True, number=None)
RUNS = JenkinsBuild(NUMBER, building=True, result=None)
GHOST = JenkinsBuild(NUMBER, building=True, result=None, ghost=True)
# Longer than SHUTTLE_TRIGGER_SETTLE_SECONDS of the fixture.
SETTLED_SECONDS = 0.03


def over(result: str) -> JenkinsBuild:
    return JenkinsBuild(NUMBER, building=False, result=result)


async def outcome_of(one: OneBuild) -> Claimed | TriggerAgain | Ending:
    async with asyncio.timeout(5):
        return await until_claimed_or_over(await one.row(), one.services)


def claiming(one: OneBuild, answer: Any) -> Any:
    """An answer of Jenkins that arrives after a claim."""

    async def claim_first(*_: object) -> Any:
        await one.claim()
        if isinstance(answer, Exception):
            raise answer
        return answer

    return claim_first


def after_settling(answer: Any) -> Any:
    """An answer after which an earlier "not found" has lasted for too long."""

    async def wait(*_: object) -> Any:
        await asyncio.sleep(SETTLED_SECONDS)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return wait


def reason_of(outcome: object) -> str | None:
    assert isinstance(outcome, Ending)
    return outcome.reason


async def test_claimed_build_needs_no_answer_of_jenkins(one: OneBuild):
    await one.running()
    outcome = await outcome_of(one)
    assert isinstance(outcome, Claimed)
    assert outcome.build.state is State.RUNNING
    assert one.jenkins.calls == []


async def test_claim_ends_the_wait_while_jenkins_does_not_answer(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shuttle.lifecycle.claim_race._GRACE_SECONDS", 0)
    asked, never = asyncio.Event(), asyncio.Event()

    async def hang(*_: object) -> None:
        asked.set()
        await never.wait()

    await one.queued(number=NUMBER)
    one.jenkins.answers("build", hang)
    waiting = asyncio.create_task(outcome_of(one))
    await asked.wait()
    await one.claim()
    assert isinstance(await waiting, Claimed)


async def test_claim_is_noticed_although_jenkins_fails(one: OneBuild):
    await one.queued(number=NUMBER)
    one.jenkins.answers("build", DOWN)
    waiting = asyncio.create_task(outcome_of(one))
    await one.until(lambda build: build.waiting_for == "Jenkins: Jenkins is out of reach.")
    await one.claim()
    assert isinstance(await waiting, Claimed)


async def test_waiting_for_shows_why_the_item_waits(one: OneBuild):
    await one.queued()
    one.jenkins.answers("waiting", {one.build_uuid: IN_QUEUE})
    waiting = asyncio.create_task(outcome_of(one))
    await one.until(lambda build: build.waiting_for == "Jenkins: Waiting for the next executor")
    assert one.jenkins.called("queue_item") == []
    await one.claim()
    assert isinstance(await waiting, Claimed)


@pytest.mark.parametrize(
    ("nodes", "shown"),
    [
        ({}, "the agent to claim the build"),
        ({("job-of-app", NUMBER): QueueItem(9, "There are no nodes", cancelled=False, number=None)}, "Jenkins: There"),
        ({("job-of-app", NUMBER): QueueItem(9, None, cancelled=False, number=None)}, "the agent to claim the build"),
        ({("job-of-app", 8): QueueItem(9, "There are no nodes", cancelled=False, number=None)}, "the agent to claim"),
    ],
)
async def test_waiting_for_shows_why_a_started_build_is_not_claimed(one: OneBuild, nodes: Any, shown: str):
    await one.queued(number=NUMBER)
    one.jenkins.answers("build", RUNS)
    one.jenkins.answers("waiting_nodes", nodes)
    waiting = asyncio.create_task(outcome_of(one))
    build = await one.until(lambda build: build.waiting_for)
    assert str(build.waiting_for).startswith(shown)
    await one.claim()
    assert isinstance(await waiting, Claimed)


@pytest.mark.parametrize("number", [None, NUMBER], ids=["in the queue", "without an agent"])
async def test_missing_permission_to_stop_stays_visible_while_the_build_waits(one: OneBuild, number: int | None):
    await one.queued(number=number)
    one.jenkins.answers("build", RUNS)
    one.jenkins.answers("waiting_nodes", {("job-of-app", NUMBER): IN_QUEUE})
    one.jenkins.answers("waiting", {one.build_uuid: IN_QUEUE})
    waiting = asyncio.create_task(outcome_of(one))
    await one.until(lambda build: build.waiting_for == "Jenkins: Waiting for the next executor")
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    await one.database.run(record_waiting, one.build_uuid, "The user needs Job/Cancel.")
    looks = len(one.jenkins.calls)
    await one.until(lambda _: len(one.jenkins.calls) > looks + 4)
    assert (await one.row()).waiting_for == "The user needs Job/Cancel."
    waiting.cancel()


async def test_item_that_left_the_queue_gives_the_number_of_its_build(one: OneBuild):
    await one.queued()
    one.jenkins.answers("queue_item", STARTED)
    one.jenkins.answers("build", over("FAILURE"))
    assert reason_of(await outcome_of(one)) == "build_failed"
    assert (await one.row()).build_number == NUMBER


async def test_item_that_left_the_queue_without_a_number_is_asked_again(one: OneBuild):
    await one.queued()
    one.jenkins.answers("queue_item", QueueItem(ITEM, None, cancelled=False, number=None), STARTED)
    one.jenkins.answers("build", over("FAILURE"))
    assert reason_of(await outcome_of(one)) == "build_failed"
    assert len(one.jenkins.called("queue_item")) == 2


async def test_item_that_was_cancelled_for_a_stop_meanwhile_ends_the_build_as_stopped(one: OneBuild):
    await one.queued()

    async def stopped(*_: object) -> QueueItem:
        await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
        return CANCELLED

    one.jenkins.answers("queue_item", stopped)
    outcome = await outcome_of(one)
    assert isinstance(outcome, Ending)
    assert outcome.state is State.STOPPED


async def test_cancelled_item_ends_the_build(one: OneBuild):
    await one.queued()
    one.jenkins.answers("queue_item", CANCELLED)
    assert reason_of(await outcome_of(one)) == "cancelled_in_jenkins"


@pytest.mark.parametrize("cause", [StopCause.STOPPED, StopCause.DEADLINE])
async def test_item_cancelled_by_our_stop_ends_with_the_cause_of_the_stop(one: OneBuild, cause: StopCause):
    await one.queued()
    await stop_build(one.build_uuid, cause, one.services)
    one.jenkins.answers("queue_item", CANCELLED)
    assert reason_of(await outcome_of(one)) == cause.value


async def test_build_of_a_vanished_item_is_found_by_its_marker(one: OneBuild):
    await one.queued()
    one.jenkins.answers("queue_item", NOT_FOUND)
    one.jenkins.answers("find_build", JenkinsBuild(NUMBER, building=True, result=None, queue_item=ITEM))
    one.jenkins.answers("build", over("FAILURE"))
    assert reason_of(await outcome_of(one)) == "build_failed"
    assert (await one.row()).build_number == NUMBER


async def test_build_is_lost_once_neither_item_nor_marker_were_found_for_the_settling_time(one: OneBuild):
    await one.queued()
    one.jenkins.answers("queue_item", NOT_FOUND)
    assert reason_of(await outcome_of(one)) == "lost_in_jenkins"
    assert len(one.jenkins.called("find_build")) > 1


async def test_build_without_a_recorded_item_is_searched_by_its_marker(one: OneBuild):
    await one.queued(item=None)
    one.jenkins.answers("find_build", None, JenkinsBuild(NUMBER, building=True, result=None, queue_item=ITEM))
    one.jenkins.answers("build", over("FAILURE"))
    assert reason_of(await outcome_of(one)) == "build_failed"


@pytest.mark.parametrize("other", [RUNS, DOWN])
async def test_build_is_not_lost_if_jenkins_gave_another_answer_in_between(one: OneBuild, other: Any):
    """Only an uninterrupted time of "not found" counts, so the last one here begins a new time."""
    await one.queued(number=NUMBER)
    one.jenkins.answers("build", NOT_FOUND, after_settling(other), NOT_FOUND, over("FAILURE"))
    assert reason_of(await outcome_of(one)) == "build_failed"


async def test_waiting_for_of_an_outage_is_cleared_when_jenkins_answers(one: OneBuild):
    await one.queued(number=NUMBER)
    one.jenkins.answers("build", DOWN, NOT_FOUND)
    assert reason_of(await outcome_of(one)) == "lost_in_jenkins"
    assert (await one.row()).waiting_for is None


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ("SUCCESS", "not_claimed"),
        ("UNSTABLE", "unstable"),
        ("FAILURE", "build_failed"),
        ("NOT_BUILT", "not_built"),
        ("ABORTED", "aborted_in_jenkins"),
        ("SOMETHING_NEW", "build_failed"),
    ],
)
async def test_build_that_is_over_without_a_claim_ends_by_its_result(one: OneBuild, result: str, reason: str):
    await one.queued(number=NUMBER)
    one.jenkins.answers("build", over(result))
    assert reason_of(await outcome_of(one)) == reason


async def test_stopped_build_that_is_over_without_a_claim_ends_stopped(one: OneBuild):
    await one.queued(number=NUMBER)
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    one.jenkins.answers("build", over("ABORTED"))
    assert reason_of(await outcome_of(one)) == "stopped"


async def test_claim_that_came_before_the_result_is_not_overlooked(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shuttle.lifecycle.claim_race._wait_for_claim", lambda *_: asyncio.Event().wait())
    await one.queued(number=NUMBER)
    one.jenkins.answers("build", claiming(one, over("FAILURE")))
    assert isinstance(await outcome_of(one), Claimed)


async def test_ghost_is_removed_and_the_build_triggered_again(one: OneBuild):
    await one.queued(number=NUMBER)
    one.jenkins.answers("build", GHOST)
    assert isinstance(await outcome_of(one), TriggerAgain)
    assert one.jenkins.called("delete_job") == [["job-of-app"]]
    build = await one.row()
    assert (build.state, build.build_number, build.trigger_attempted_at) == (State.STAGING, None, None)


@pytest.mark.parametrize("other", [RUNS, DOWN])
async def test_job_of_a_ghost_is_kept_if_jenkins_gave_another_answer_in_between(one: OneBuild, other: Any):
    """Only an uninterrupted time counts: an outage says nothing about the build."""
    await one.queued(number=NUMBER)
    one.jenkins.answers("build", GHOST, after_settling(other), GHOST, over("FAILURE"))
    assert reason_of(await outcome_of(one)) == "build_failed"
    assert one.jenkins.called("delete_job") == []


async def test_ghost_of_an_earlier_build_does_not_block_a_queued_one(one: OneBuild):
    await one.queued()
    one.jenkins.answers("waiting", {one.build_uuid: BLOCKED})
    one.jenkins.answers("newest_build", GHOST)
    assert isinstance(await outcome_of(one), TriggerAgain)
    assert one.jenkins.called("delete_job") == [["job-of-app"]]
    row = await one.row()
    assert (row.state, row.queue_item, row.trigger_attempted_at) == (State.STAGING, None, None)


@pytest.mark.parametrize("newest", [None, RUNS, over("SUCCESS"), DOWN])
async def test_job_of_a_queued_build_is_kept_if_nothing_or_a_live_build_blocks_it(one: OneBuild, newest: Any):
    await one.queued()
    one.jenkins.answers("waiting", {one.build_uuid: BLOCKED})
    one.jenkins.answers("newest_build", GHOST, after_settling(newest), GHOST, newest)
    waiting = asyncio.create_task(outcome_of(one))
    await one.until(lambda _: len(one.jenkins.called("newest_build")) > 4)
    assert one.jenkins.called("delete_job") == []
    waiting.cancel()


async def test_stopped_ghost_ends_at_once(one: OneBuild):
    await one.queued(number=NUMBER)
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    one.jenkins.answers("build", GHOST)
    assert reason_of(await outcome_of(one)) == "stopped"
    assert one.jenkins.called("delete_job") == []


async def test_ghost_that_is_claimed_while_its_job_is_removed_is_not_triggered_again(
    one: OneBuild, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shuttle.lifecycle.claim_race._wait_for_claim", lambda *_: asyncio.Event().wait())
    await one.queued(number=NUMBER)
    one.jenkins.answers("build", GHOST)
    one.jenkins.answers("delete_job", claiming(one, None))
    assert isinstance(await outcome_of(one), Claimed)
    assert (await one.row()).state is State.RUNNING


async def test_ghost_that_is_stopped_while_its_job_is_removed_ends_stopped(one: OneBuild):
    async def stop(*_: object) -> None:
        await stop_build(one.build_uuid, StopCause.STOPPED, one.services)

    await one.queued(number=NUMBER)
    one.jenkins.answers("build", GHOST)
    one.jenkins.answers("delete_job", stop)
    assert reason_of(await outcome_of(one)) == "stopped"
