"""A claimed build to its end: by its supervisors' reports, or by Jenkins if a supervisor stays silent."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from shuttle.build import STOP_ENDINGS, Ending, State, StopCause
from shuttle.errors import JenkinsNotFoundError, JenkinsUnavailableError, NotOwnerError
from shuttle.jenkins import JenkinsBuild
from shuttle.lifecycle.build_log import OVER, BuildLog
from shuttle.lifecycle.follow import follow
from shuttle.lifecycle.stop import stop_build
from shuttle.logs.spool import SpoolError
from shuttle.store.agent import Failure, record_report
from shuttle.store.claims import NewClaim, claim_build
from shuttle.store.transitions import finish_build
from tests.unit.lifecycle.one_build import NUMBER, OneBuild

DOWN = JenkinsUnavailableError("Jenkins is out of reach.")
NOT_FOUND = JenkinsNotFoundError("Jenkins does not have it.")
RUNS = JenkinsBuild(NUMBER, building=True, result=None)
GHOST = JenkinsBuild(NUMBER, building=True, result=None, ghost=True)
NEVER_SILENT = {"SHUTTLE_AGENT_SILENCE_SECONDS": "1000"}
LAST_CALL_AWAITED = {"SHUTTLE_AGENT_SILENCE_SECONDS": "1000", "SHUTTLE_TRIGGER_SETTLE_SECONDS": "1000"}


def over(result: str) -> JenkinsBuild:
    return JenkinsBuild(NUMBER, building=False, result=result)


@pytest.fixture
def settings() -> dict[str, str]:
    return {"SHUTTLE_TRIGGER_SETTLE_SECONDS": "0.02", "SHUTTLE_AGENT_SILENCE_SECONDS": "0.02"}


@pytest.fixture(autouse=True)
def _polls_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shuttle.lifecycle.jenkins_watch._SHORTEST_POLL_SECONDS", 0.001)


async def followed(one: OneBuild) -> Ending | None:
    async with asyncio.timeout(5):
        return await follow(await one.row(), one.services)


async def log_of(one: OneBuild) -> BuildLog:
    found = await one.services.logs.open(one.build_uuid)
    assert found is not None
    return found


async def log_with_a_stop(one: OneBuild) -> BuildLog:
    """The log, once its supervisor is sent a stop."""
    build_log = await log_of(one)
    while build_log.stop_cause is None:
        await one.row()
    return build_log


@pytest.fixture
def _asks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jenkins is asked although the supervisor has just called."""
    monkeypatch.setattr("shuttle.lifecycle.jenkins_watch._RECENT_CALL_SECONDS", 0)


@pytest.mark.parametrize("settings", [NEVER_SILENT])
async def test_lost_app_ends_the_task_and_further_pushes_are_for_the_new_owner(
    one: OneBuild, monkeypatch: pytest.MonkeyPatch
):
    """Before, the log stayed open here: pushes that arrived at this replica were answered 503 and not passed on."""
    await one.running()
    one.jenkins.answers("build", RUNS)

    def lost(*_: object) -> None:
        raise NotOwnerError

    monkeypatch.setattr("shuttle.lifecycle.log_commits.record_log", lost)
    following = asyncio.create_task(followed(one))
    build_log = await log_of(one)
    build_log.take(build_log.claims[0], "main", 0, b"one\n")
    with pytest.raises(NotOwnerError):
        await following
    assert one.services.logs.find(one.build_uuid) is None


# --- by the supervisor


async def test_task_of_a_replica_that_was_frozen_ends_if_the_new_owner_has_ended_the_build(one: OneBuild):
    await one.running()
    before = await one.row()
    await one.services.database.run(finish_build, one.build_uuid, Ending(State.SUCCEEDED))
    with pytest.raises(NotOwnerError):
        await follow(before, one.services)


@pytest.mark.parametrize("settings", [NEVER_SILENT])
@pytest.mark.parametrize(
    ("exit_status", "state", "reason"), [(0, State.SUCCEEDED, None), (3, State.FAILED, "build_failed")]
)
async def test_exit_status_of_the_supervisor_decides(one: OneBuild, exit_status: int, state: State, reason: str | None):
    await one.running()
    one.jenkins.answers("build", RUNS)
    following = asyncio.create_task(followed(one))
    await one.end((await log_of(one)).claims[0], exit_status=exit_status)
    ending = await following
    assert ending is not None
    assert (ending.state, ending.reason) == (state, reason)


@pytest.mark.parametrize("settings", [NEVER_SILENT])
async def test_reported_reason_explains_the_end(one: OneBuild):
    await one.running()
    failure = Failure("no_dockerfile", "There is no Dockerfile.")
    report: dict[str, Any] = {"failure": failure, "facts": {}, "values": {}, "seal": bytes}
    await one.database.run(record_report, one.build_uuid, "r1", b"{}", **report)
    await one.end((await log_of(one)).claims[0], exit_status=1)
    assert await followed(one) == Ending(State.FAILED, "no_dockerfile", "There is no Dockerfile.")


@pytest.mark.parametrize("settings", [NEVER_SILENT])
@pytest.mark.parametrize(("exit_status", "reason"), [(0, None), (143, "stopped")])
async def test_stop_has_no_effect_on_a_success(one: OneBuild, exit_status: int, reason: str | None):
    await one.running()
    await stop_build(one.build_uuid, StopCause.STOPPED, one.services)
    await one.end((await log_of(one)).claims[0], exit_status=exit_status)
    ending = await followed(one)
    assert ending is not None
    assert ending.reason == reason


@pytest.mark.parametrize("settings", [NEVER_SILENT])
async def test_parallel_branches_end_with_jenkins(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    """Another branch may still claim the build, so Jenkins is asked whether it is over."""
    await one.queued(number=NUMBER)
    for branch in ("a", "b"):
        new = NewClaim(NUMBER, branch, f"n{branch}", f"setup {branch}", f"run {branch}")
        await one.database.run(claim_build, one.build_uuid, new)
    build_log = await log_of(one)
    one.jenkins.answers("build", RUNS, over("FAILURE"))
    following = asyncio.create_task(followed(one))
    await one.end(build_log.claims[0], exit_status=0)
    await one.end(build_log.claims[1], exit_status=4)
    while not one.jenkins.called("build"):
        await one.row()
    one.services.signals.wake(one.build_uuid)
    ending = await following
    assert ending is not None
    assert (ending.state, len(one.jenkins.called("build"))) == (State.FAILED, 2)


@pytest.mark.parametrize("settings", [NEVER_SILENT])
async def test_voided_attempts_do_not_count(one: OneBuild):
    """Jenkins restarted the step: another nonce claimed it."""
    await one.running()
    second = await one.claim()
    await log_of(one)
    await one.end(second, exit_status=0)
    assert await followed(one) == Ending(State.SUCCEEDED)


@pytest.mark.parametrize("settings", [NEVER_SILENT])
async def test_log_that_cannot_be_written_is_raised(one: OneBuild):
    await one.running()
    following = asyncio.create_task(followed(one))
    (await log_of(one))._break(SpoolError("The disk is full."))
    with pytest.raises(SpoolError):
        await following


# --- by Jenkins


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ("SUCCESS", "not_reported"),
        ("FAILURE", "build_failed"),
        ("UNSTABLE", "unstable"),
        ("NOT_BUILT", "not_built"),
        ("ABORTED", "aborted_in_jenkins"),
    ],
)
async def test_result_of_jenkins_decides_if_the_supervisor_is_silent(one: OneBuild, result: str, reason: str):
    await one.running()
    one.jenkins.answers("build", RUNS, over(result))
    ending = await followed(one)
    assert ending is not None
    assert (ending.state, ending.reason) == (State.FAILED, reason)


async def test_stopped_build_that_jenkins_aborted_ends_with_the_cause_of_the_stop(one: OneBuild):
    await one.running()
    await stop_build(one.build_uuid, StopCause.TIMEOUT, one.services)
    one.jenkins.answers("build", over("ABORTED"))
    assert await followed(one) == STOP_ENDINGS[StopCause.TIMEOUT]


@pytest.mark.usefixtures("_asks_at_once")
@pytest.mark.parametrize("settings", [LAST_CALL_AWAITED])
async def test_supervisor_that_still_calls_is_sent_that_the_build_is_over(one: OneBuild):
    """Its last call is awaited: it says more than Jenkins' result."""
    await one.running()
    one.jenkins.answers("build", over("FAILURE"))
    following = asyncio.create_task(followed(one))
    build_log = await log_with_a_stop(one)
    assert build_log.stop_cause == OVER
    await one.end(build_log.claims[0], exit_status=0)
    assert await following == Ending(State.SUCCEEDED)


@pytest.mark.usefixtures("_asks_at_once")
@pytest.mark.parametrize("settings", [LAST_CALL_AWAITED])
async def test_abort_in_jenkins_is_the_reason_of_a_failure_reported_after_it(one: OneBuild):
    await one.running()
    one.jenkins.answers("build", over("ABORTED"))
    following = asyncio.create_task(followed(one))
    build_log = await log_with_a_stop(one)
    await one.end(build_log.claims[0], exit_status=143)
    ending = await following
    assert ending is not None
    assert ending.reason == "aborted_in_jenkins"


@pytest.mark.parametrize("answers", [[NOT_FOUND], [DOWN, NOT_FOUND], [GHOST], [RUNS, GHOST]])
async def test_build_is_lost_if_jenkins_neither_has_nor_runs_it(one: OneBuild, answers: list[Any]):
    await one.running()
    one.jenkins.answers("build", *answers)
    ending = await followed(one)
    assert ending is not None
    assert ending.reason == "lost_in_jenkins"


@pytest.mark.parametrize("answers", [[NOT_FOUND], [NOT_FOUND, DOWN, NOT_FOUND]])
async def test_build_that_jenkins_did_not_show_for_a_moment_is_not_lost(one: OneBuild, answers: list[Any]):
    await one.running()
    one.jenkins.answers("build", *answers, over("FAILURE"))
    ending = await followed(one)
    assert ending is not None
    assert ending.reason == "build_failed"


async def test_outage_of_jenkins_does_not_hold_up_the_end(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shuttle.lifecycle.backoff._FIRST_SECONDS", 1000)
    await one.running()
    one.jenkins.answers("build", DOWN)
    following = asyncio.create_task(followed(one))
    await one.until(lambda build: build.waiting_for)
    await one.end((await log_of(one)).claims[0], exit_status=0)
    assert await following == Ending(State.SUCCEEDED)


@pytest.mark.parametrize("settings", [NEVER_SILENT])
async def test_jenkins_is_not_asked_while_the_supervisor_calls(one: OneBuild):
    await one.running()
    following = asyncio.create_task(followed(one))
    build_log = await log_of(one)
    for _ in range(20):
        build_log.last_call_at = asyncio.get_running_loop().time()
        one.services.signals.wake(one.build_uuid)
        await one.row()
    assert one.jenkins.called("build") == []
    await one.end(build_log.claims[0], exit_status=0)
    await following


# --- the description


@pytest.mark.parametrize("answer", [None, DOWN, NOT_FOUND])
@pytest.mark.parametrize("settings", [NEVER_SILENT])
async def test_description_of_the_jenkins_build_is_set_if_possible(one: OneBuild, answer: Any):
    await one.running()
    one.jenkins.answers("describe", answer)
    await one.describe("for people")
    await one.end((await log_of(one)).claims[0], exit_status=0)
    with capture_logs() as logs:
        assert await followed(one) == Ending(State.SUCCEEDED)
    assert one.jenkins.called("describe") == [["job-of-app", NUMBER, "for people"]]
    assert len(logs) == (answer is not None)


@pytest.mark.parametrize("settings", [NEVER_SILENT])
async def test_end_does_not_wait_long_for_the_description(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("shuttle.lifecycle.follow._DESCRIBE_SECONDS", 0.01)
    await one.running()
    one.jenkins.answers("describe", hang)
    await one.describe("for people")
    await one.end((await log_of(one)).claims[0], exit_status=0)
    assert await followed(one) == Ending(State.SUCCEEDED)
