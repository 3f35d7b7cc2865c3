"""Builds whose end only Jenkins reports, and states in Jenkins that must not end a build (ghosts, missing rights)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from shuttle.build import job_name_of
from shuttle.lifecycle import jenkins_watch
from tests.contract.agent_caller import Agent, agent_of
from tests.support.inprocess import Jenkins, Shuttle, running_shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unmanned(tmp_path_factory: pytest.TempPathFactory, jenkins: Jenkins) -> AsyncIterator[Shuttle]:
    """A shuttle whose builds wait for an agent that does not exist."""
    settings = {"MAXIMUM_PARALLEL_BUILDS": "100", "SHUTTLE_JENKINS_AGENT_LABEL": "nowhere"}
    async with running_shuttle(tmp_path_factory.mktemp("unmanned"), jenkins.url, **settings) as running:
        yield running


async def unclaimed(shuttle: Shuttle, app: str, **request: Any) -> Agent:
    """The agent of a new build that Jenkins has numbered and that nobody has claimed."""
    await shuttle.submit(f"/{app}/1", **request)
    await shuttle.until_shown(f"/{app}/1", lambda build: build["jenkins"]["build_number"] == 1)
    return await agent_of(shuttle, f"/{app}/1")


def jenkins_shows(jenkins: Jenkins, app: str, **facts: object) -> None:
    """Make Jenkins' API show the app's first build with these fields."""
    shown = {"number": 1, "building": False, "result": "SUCCESS", "queueId": 1, "actions": []} | facts

    def fault(request: web.Request) -> web.Response | None:
        return web.json_response(shown) if request.path == f"/job/{job_name_of(app)}/1/api/json" else None

    jenkins.fault = fault


def stop_requested(shuttle: Shuttle, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """An event that is set when the shuttle wants to stop a supervisor."""
    stop_sent, stop = asyncio.Event(), shuttle.services.logs.stop

    def tell(build_uuid: str, cause: str) -> None:
        stop(build_uuid, cause)
        stop_sent.set()

    monkeypatch.setattr(shuttle.services.logs, "stop", tell)
    return stop_sent


async def prints_until(over: asyncio.Task[object], agent: Agent) -> None:
    """Act like a supervisor whose build is never silent: push after each pause that the shuttle requests."""
    while not over.done():
        answer = await agent.push(b"word\n")
        await asyncio.wait({over}, timeout=float(answer.headers["Shuttle-Log-Pause"]))


async def prints_until_stopped(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Push until the shuttle wants to stop the supervisor, because Jenkins has ended the build."""
    stop_sent = stop_requested(agent.shuttle, monkeypatch)
    async with asyncio.timeout(10):
        await prints_until(asyncio.create_task(stop_sent.wait()), agent)


async def aborted_while_it_prints(
    shuttle: Shuttle, jenkins: Jenkins, app: str, monkeypatch: pytest.MonkeyPatch
) -> Agent:
    """The agent of a build that Jenkins has aborted; its supervisor still runs, and has got a stop."""
    agent = await (await unclaimed(shuttle, app)).begun()
    jenkins_shows(jenkins, app, result="ABORTED")
    await prints_until_stopped(agent, monkeypatch)
    return agent


@pytest.fixture(autouse=True)
def reset_fault(jenkins: Jenkins):
    yield
    jenkins.fault = None


async def test_success_in_jenkins_without_a_claim_fails_the_build(unmanned: Shuttle, jenkins: Jenkins, app: str):
    agent = await unclaimed(unmanned, app)
    jenkins_shows(jenkins, app, result="SUCCESS")
    build = await unmanned.until(agent.path)
    assert (build["state"], build["reason"]) == ("failed", "not_claimed")
    assert "look at the job's script" in build["message"]
    assert (await unmanned.whole_log(agent.path)).decode().splitlines()[-1] == f"-----> {build['message']}"


@pytest.mark.slow
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
async def test_without_the_supervisors_end_jenkins_result_gives_the_reason(
    unmanned: Shuttle, jenkins: Jenkins, app: str, result: str, reason: str
):
    agent = await (await unclaimed(unmanned, app)).begun()
    await agent.push(b"the last words of it\n")
    jenkins_shows(jenkins, app, result=result)
    build = await unmanned.until(agent.path)
    assert (build["state"], build["reason"]) == ("failed", reason)
    assert b"\nthe last words of it\n" in await unmanned.whole_log(agent.path)
    assert (await agent.push(b"late")).headers["Shuttle-Stop"] == "over"


@pytest.mark.slow
async def test_supervisors_end_after_an_abort_in_jenkins_decides(
    unmanned: Shuttle, jenkins: Jenkins, app: str, monkeypatch: pytest.MonkeyPatch
):
    """A supervisor that was disconnected for a while gets a stop, and its exit status decides."""
    stop_sent = stop_requested(unmanned, monkeypatch)
    agent = await (await unclaimed(unmanned, app)).begun()
    jenkins_shows(jenkins, app, result="ABORTED")
    await stop_sent.wait()
    assert (await agent.push(b"")).headers["Shuttle-Stop"] == "over"
    await agent.end(0, b"it succeeded nevertheless\n")
    assert (await unmanned.until(agent.path))["state"] == "succeeded"


@pytest.mark.slow
async def test_supervisor_that_is_never_silent_gets_a_stop_when_jenkins_ended_the_build(
    unmanned: Shuttle, jenkins: Jenkins, app: str, monkeypatch: pytest.MonkeyPatch
):
    agent = await aborted_while_it_prints(unmanned, jenkins, app, monkeypatch)
    assert (await agent.push(b"word\n")).headers["Shuttle-Stop"] == "over"
    await agent.end(143)
    assert (await unmanned.until(agent.path))["reason"] == "aborted_in_jenkins"


@pytest.mark.slow
async def test_stop_counts_if_jenkins_aborted_the_build_before_the_supervisor_ended(
    unmanned: Shuttle, jenkins: Jenkins, app: str, monkeypatch: pytest.MonkeyPatch
):
    """The stop may have caused the abort; the process may have ended with any status because of it."""
    agent = await aborted_while_it_prints(unmanned, jenkins, app, monkeypatch)
    assert (await unmanned.delete(agent.path)).status == 200
    await agent.end(1)
    assert (await unmanned.until(agent.path))["state"] == "stopped"


@pytest.mark.slow
async def test_branch_that_never_ends_does_not_delay_the_end_forever(
    unmanned: Shuttle, jenkins: Jenkins, app: str, monkeypatch: pytest.MonkeyPatch
):
    """A build may find its own token, claim a branch with it, and leave a process that pushes forever."""
    monkeypatch.setattr(jenkins_watch, "_LONGEST_LAST_CALL_SILENCES", 1)
    agent = await (await unclaimed(unmanned, app)).begun()
    branch = await agent_of(unmanned, agent.path)
    assert (await branch.claim(branch="hidden")).status == 200
    await agent.end()
    jenkins_shows(jenkins, app, result="SUCCESS")
    ended = asyncio.create_task(unmanned.until(agent.path, seconds=15))
    await prints_until(ended, branch)
    build = await ended
    assert (build["state"], build["reason"]) == ("failed", "not_reported")


def jenkins_shows_console(jenkins: Jenkins, app: str, console: str) -> None:
    """Make Jenkins show this console of the app's first build; its other answers stay as they are."""
    shown = jenkins.fault

    def fault(request: web.Request) -> web.Response | None:
        if request.path == f"/job/{job_name_of(app)}/1/consoleText":
            return web.Response(text=console)
        answer: web.Response | None = shown(request)
        return answer

    jenkins.fault = fault


@pytest.mark.slow
async def test_jenkins_console_is_appended_without_the_supervisors_end(unmanned: Shuttle, jenkins: Jenkins, app: str):
    agent = await (await unclaimed(unmanned, app)).begun()
    await agent.push(b"an unfinished line")
    console = "Started by user ci\n[Pipeline] node\nlost has been removed or offline for 5 min 0 sec; assuming gone\n"
    jenkins_shows(jenkins, app, result="ABORTED")
    jenkins_shows_console(jenkins, app, console + "Finished: ABORTED\n")
    build = await unmanned.until(agent.path)
    assert (await unmanned.whole_log(agent.path)).decode().splitlines()[2:] == [
        "an unfinished line",
        "lost has been removed or offline for 5 min 0 sec; assuming gone",
        f"-----> {build['message']}",
    ]


@pytest.mark.slow
async def test_jenkins_console_is_appended_if_jenkins_ended_a_step_that_ran(
    unmanned: Shuttle, jenkins: Jenkins, app: str, monkeypatch: pytest.MonkeyPatch
):
    """The supervisor is then stopped, so neither its log nor its exit status says what happened."""
    agent = await (await unclaimed(unmanned, app)).begun()
    jenkins_shows(jenkins, app, result="FAILURE")
    jenkins_shows_console(jenkins, app, "wrapper script does not seem to be touching the log file\nFinished: FAILURE\n")
    await prints_until_stopped(agent, monkeypatch)
    await agent.end(143, b"-----> The build is stopped: over.\n")
    assert (await unmanned.until(agent.path))["reason"] == "build_failed"
    log = await unmanned.whole_log(agent.path)
    assert log.endswith(b"is stopped: over.\nwrapper script does not seem to be touching the log file\n")


@pytest.mark.slow
async def test_jenkins_console_is_appended_for_a_branch_without_an_end(unmanned: Shuttle, jenkins: Jenkins, app: str):
    """Another branch has ended well, but its log does not say what happened to the lost one."""
    ended, lost = [await agent_of(unmanned, (await unclaimed(unmanned, app)).path) for _ in range(2)]
    for agent, branch in ((ended, "ended"), (lost, "lost")):
        assert (await agent.claim(branch=branch)).status == 200
    await ended.end()
    jenkins_shows(jenkins, app, result="FAILURE")
    jenkins_shows_console(jenkins, app, "lost is offline\nFinished: FAILURE\n")
    assert (await unmanned.until(ended.path))["reason"] == "build_failed"
    assert (await unmanned.whole_log(ended.path)).endswith(b"lost is offline\n")


async def test_platform_whose_branch_is_lost_is_named(unmanned: Shuttle, jenkins: Jenkins, app: str):
    """The other platform has reported why it failed, which does not explain the build."""
    failed = await unclaimed(unmanned, app, platforms=["aws", "gcp"])
    lost = await agent_of(unmanned, failed.path)
    for agent, branch in ((failed, "aws"), (lost, "gcp")):
        assert (await agent.claim(branch=branch)).status == 200
    report = {"id": "aws.failure", "state": "failed", "reason": "no_build_script", "message": "There is none."}
    assert (await failed.ask("POST", "report", json=report)).status == 200
    await failed.end(1)
    jenkins_shows(jenkins, app, result="FAILURE")
    build = await unmanned.until(failed.path)
    assert (build["reason"], build["message"]) == ("platform_failed", "The build failed for: aws, gcp.")
    assert [child["reason"] for child in build["children"]] == ["no_build_script", "parent_ended"]


async def test_abort_counts_if_a_platform_has_not_begun(unmanned: Shuttle, jenkins: Jenkins, app: str):
    """The branch of the other platform has ended well, and no step has seen the abort."""
    agent = await unclaimed(unmanned, app, platforms=["aws", "gcp"])
    assert (await agent.claim(branch="aws")).status == 200
    jenkins_shows(jenkins, app, result="ABORTED")
    await agent.end()
    assert (await unmanned.until(agent.path))["reason"] == "aborted_in_jenkins"


async def test_waiting_for_has_jenkins_reason_while_no_node_is_free(unmanned: Shuttle, app: str):
    agent = await unclaimed(unmanned, app)
    async with asyncio.timeout(20):
        await unmanned.until_shown(
            agent.path, lambda build: "There are no nodes with the label" in str(build["waiting_for"])
        )
    await unmanned.delete(agent.path)
    assert (await unmanned.until(agent.path))["state"] == "stopped"


GHOST = {"building": True, "result": None, "executor": None, "inProgress": False, "duration": 0}


@pytest.mark.slow
async def test_ghost_is_triggered_again(shuttle: Shuttle, jenkins: Jenkins, app: str):
    """A Jenkins that is killed when a build begins shows it as running forever."""
    await shuttle.submit(f"/{app}/1")
    await shuttle.until(f"/{app}/1")
    jenkins.emulated.faults.make_ghost(job_name_of(app))
    await shuttle.submit(f"/{app}/2", "echo really built")
    build = await shuttle.until(f"/{app}/2")
    assert (build["state"], build["jenkins"]["build_number"]) == ("succeeded", 1)
    assert (await shuttle.whole_log(f"/{app}/2")).count(b"really built\n") == 1


async def test_stopped_ghost_ends_at_once(unmanned: Shuttle, jenkins: Jenkins, app: str):
    agent = await unclaimed(unmanned, app)
    jenkins_shows(jenkins, app, **GHOST)
    assert (await unmanned.delete(agent.path)).status == 200
    assert (await unmanned.until(agent.path))["state"] == "stopped"
    assert (await agent.claim()).status == 410


@pytest.mark.slow
async def test_stopped_ghost_does_not_block_the_next_build(shuttle: Shuttle, jenkins: Jenkins, app: str):
    await shuttle.submit(f"/{app}/1")
    await shuttle.until(f"/{app}/1")
    jenkins.emulated.faults.make_ghost(job_name_of(app))
    await shuttle.submit(f"/{app}/2", "echo deaf")
    await shuttle.until(f"/{app}/2", "queued")
    await shuttle.delete(f"/{app}/2")
    assert (await shuttle.until(f"/{app}/2"))["state"] == "stopped"
    await shuttle.submit(f"/{app}/3", "echo really built")
    assert (await shuttle.until(f"/{app}/3"))["state"] == "succeeded"
    assert (await shuttle.whole_log(f"/{app}/3")).count(b"really built\n") == 1


async def test_missing_permission_to_stop_is_in_waiting_for_and_readyz(unmanned: Shuttle, jenkins: Jenkins, app: str):
    agent = await (await unclaimed(unmanned, app)).begun()

    def forbidden(request: web.Request) -> web.Response | None:
        if request.path.endswith("/stop"):
            return web.Response(status=403, headers={"X-Required-Permission": "hudson.model.Item.Cancel"})
        return None

    jenkins.fault = forbidden
    await unmanned.delete(agent.path)
    await unmanned.until_shown(agent.path, lambda build: "Job/Cancel" in str(build["waiting_for"]))
    ready = await unmanned.get("/readyz")
    assert ready.json["status"] == "degraded"
    assert "Job/Cancel" in ready.body.decode()
    await agent.end(143)
    assert (await unmanned.until(agent.path))["state"] == "stopped"


@pytest.mark.slow
async def test_edited_job_is_repaired_before_the_next_build(
    shuttle: Shuttle, jenkins: Jenkins, app: str, tmp_path: Path
):
    await shuttle.submit(f"/{app}/1")
    job = (await shuttle.until(f"/{app}/1"))["jenkins"]["job"]
    config = (await jenkins.read(f"/job/{job}/config.xml")).decode()
    start, end = config.index("<script>"), config.index("</script>")
    edited = (
        config[:start] + "<script>pipeline { agent any; stages { stage('x') { steps { echo 'hi' } } } }" + config[end:]
    )
    headers = {"Content-Type": "application/xml"}
    assert await jenkins.call("POST", f"/job/{job}/config.xml", data=edited.encode(), headers=headers) == 200
    await shuttle.submit(f"/{app}/2", "echo really built")
    assert (await shuttle.until(f"/{app}/2"))["state"] == "succeeded"
    assert b"\nreally built\n" in await shuttle.whole_log(f"/{app}/2")
