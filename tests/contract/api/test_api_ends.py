"""Ends of builds in Jenkins: state, status, reason, log (docs/contract.md, "Ends of builds")."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from shuttle.build import job_name_of
from tests.support.inprocess import Jenkins, Shuttle, script_request
from tests.support.product import data_url
from tests.support.receivers import Receiver, hanging

_SOMEBODYS_JOB = Path(__file__).parents[2] / "recordings" / "declarative" / "config.xml"

pytestmark = pytest.mark.asyncio(loop_scope="module")


def waiting_for(file: Path) -> str:
    """A script that continues once the file exists."""
    return f"echo begun\nwhile [ ! -e {file} ]; do sleep 0.1; done"


async def begun(shuttle: Shuttle, path: str) -> dict[str, Any]:
    """Wait until the build's script has printed `begun`."""
    async with shuttle.session.get(f"{shuttle.url}{path}/logs?follow=true") as response:
        text = b""
        async for piece in response.content.iter_any():
            text += piece
            if b"begun\n" in text:
                return await shuttle.build(path)
    raise AssertionError(f"ended without beginning: {text.decode()}")


async def ended(shuttle: Shuttle, path: str, state: str, word: str, reason: str | None) -> dict[str, Any]:
    """Check the end of the build in the response to GET, the newest status and the log."""
    build = await shuttle.until(path)
    log = await shuttle.whole_log(path)
    assert (build["state"], build["status"], build["reason"]) == (state, word, reason), build["message"]
    assert build["building"] is False
    assert build["log"] == {"bytes": len(log), "sha256": hashlib.sha256(log).hexdigest(), "complete": True}
    status = (await shuttle.get(f"{path}/status")).json
    assert (status["status"], status["building"], status["reason"]) == (word, False, reason)
    assert (status["log_bytes"], status["log_sha256"]) == (len(log), hashlib.sha256(log).hexdigest())
    assert (build["message"] is None) == (reason is None)
    return build


async def test_build_succeeds(shuttle: Shuttle, app: str):
    await shuttle.submit(f"/{app}/1", "echo hello")
    build = await ended(shuttle, f"/{app}/1", "succeeded", "succeeded", None)
    assert list(build["timestamps"].values()) == sorted(build["timestamps"].values())
    log = (await shuttle.whole_log(f"/{app}/1")).decode()
    assert log.startswith("-----> Source: ")
    assert log.endswith("\n-----> Running build.sh\nhello\n")


async def test_failing_script_fails_the_build(shuttle: Shuttle, app: str):
    await shuttle.submit(f"/{app}/1", "echo no >&2; exit 3")
    build = await ended(shuttle, f"/{app}/1", "failed", "failed", "build_failed")
    assert "exit status 3" in build["message"]


async def test_reported_reason_is_not_repeated_at_the_end_of_the_log(shuttle: Shuttle, app: str):
    body = {"source": {"url": data_url({"readme": "nothing to build"})}, "pipeline": "script"}
    await shuttle.post(f"/{app}/1", body)
    build = await ended(shuttle, f"/{app}/1", "failed", "failed", "no_build_script")
    lines = (await shuttle.whole_log(f"/{app}/1")).decode().splitlines()
    assert lines.count(f"-----> {build['message']}") == 1
    assert lines[-1] == f"-----> {build['message']}"


async def test_stopped_build_ends_when_its_supervisor_confirms(shuttle: Shuttle, app: str, tmp_path: Path):
    await shuttle.submit(f"/{app}/1", waiting_for(tmp_path / "never"))
    await begun(shuttle, f"/{app}/1")
    for _ in range(2):
        answer = await shuttle.delete(f"/{app}/1")
        assert (answer.status, answer.json) == (200, {"status": "OK"})
    await ended(shuttle, f"/{app}/1", "stopped", "failed", "stopped")
    assert (await shuttle.whole_log(f"/{app}/1")).decode().splitlines()[
        -1
    ] == "-----> The build was stopped on request."
    after = await shuttle.delete(f"/{app}/1")
    assert (after.status, after.json["code"]) == (422, "nothing_to_stop")


@pytest.mark.slow
async def test_script_that_ignores_the_stop_is_killed(shuttle: Shuttle, app: str, tmp_path: Path):
    await shuttle.submit(f"/{app}/1", f"trap '' TERM INT HUP; {waiting_for(tmp_path / 'never')}")
    await begun(shuttle, f"/{app}/1")
    await shuttle.delete(f"/{app}/1")
    await ended(shuttle, f"/{app}/1", "stopped", "failed", "stopped")


@pytest.mark.slow
async def test_time_limit_counts_from_running(shuttle: Shuttle, app: str, tmp_path: Path):
    await shuttle.submit(f"/{app}/1", waiting_for(tmp_path / "never"), timeout_seconds=1)
    await ended(shuttle, f"/{app}/1", "timedout", "timedout", "timeout")


async def test_build_aborted_in_jenkins_fails(shuttle: Shuttle, jenkins: Jenkins, app: str, tmp_path: Path):
    await shuttle.submit(f"/{app}/1", waiting_for(tmp_path / "never"))
    build = await begun(shuttle, f"/{app}/1")
    assert await jenkins.call("POST", f"/job/{build['jenkins']['job']}/1/stop") == 302
    await ended(shuttle, f"/{app}/1", "failed", "failed", "aborted_in_jenkins")


@pytest.mark.slow
async def test_build_whose_job_is_deleted_fails(shuttle: Shuttle, jenkins: Jenkins, app: str, tmp_path: Path):
    await shuttle.submit(f"/{app}/1", waiting_for(tmp_path / "go"))
    build = await begun(shuttle, f"/{app}/1")
    assert await jenkins.call("POST", f"/job/{build['jenkins']['job']}/doDelete") == 302
    await ended(shuttle, f"/{app}/1", "failed", "failed", "aborted_in_jenkins")


async def test_foreign_job_is_not_changed(shuttle: Shuttle, jenkins: Jenkins, app: str):
    job, config = job_name_of(app), _SOMEBODYS_JOB.read_bytes()
    headers = {"Content-Type": "application/xml"}
    assert await jenkins.call("POST", f"/createItem?name={job}", data=config, headers=headers) == 200
    await shuttle.submit(f"/{app}/1")
    build = await ended(shuttle, f"/{app}/1", "failed", "failed", "foreign_job")
    assert job in build["message"]
    assert await jenkins.call("GET", f"/job/{job}/1/api/json") == 404


async def test_stop_of_an_unknown_build_gets_422(shuttle: Shuttle, app: str):
    answer = await shuttle.delete(f"/{app}/1")
    assert (answer.status, answer.json["code"]) == (422, "nothing_to_stop")


async def test_build_in_the_queue_of_jenkins_is_stopped(shuttle: Shuttle, jenkins: Jenkins, app: str):
    assert await jenkins.call("POST", "/quietDown") == 302
    try:
        await shuttle.submit(f"/{app}/1")
        await shuttle.submit(f"/{app}-other/1")
        for path in (f"/{app}/1", f"/{app}-other/1"):
            build = await shuttle.until_shown(path, lambda shown: "shut down" in str(shown["waiting_for"]))
            assert build["state"] == "queued"
        assert (await shuttle.delete(f"/{app}/1")).status == 200
        item = (await shuttle.build(f"/{app}-other/1"))["jenkins"]["queue_item"]
        assert await jenkins.call("POST", f"/queue/cancelItem?id={item}") == 204
        stopped = await ended(shuttle, f"/{app}/1", "stopped", "failed", "stopped")
        cancelled = await ended(shuttle, f"/{app}-other/1", "failed", "failed", "cancelled_in_jenkins")
        assert stopped["timestamps"]["running_at"] is cancelled["timestamps"]["running_at"] is None
    finally:
        assert await jenkins.call("POST", "/cancelQuietDown") == 302


async def test_stop_before_the_trigger_ends_the_build_immediately(idle: Shuttle, app: str):
    async with Receiver(hanging) as host:
        await idle.post(f"/{app}/1", {"source": {"url": f"{host.url}/a"}, "pipeline": "script"})
        await idle.until(f"/{app}/1", "staging")
        await idle.post(f"/{app}/2", script_request())
        for number in ("1", "2"):
            assert (await idle.delete(f"/{app}/{number}")).status == 200
            assert (await idle.build(f"/{app}/{number}"))["state"] == "stopped"
            assert (await idle.delete(f"/{app}/{number}")).status == 422
            status = (await idle.get(f"/{app}/{number}/status")).json
            assert (status["status"], status["sequence"]) == ("failed", 2)
            # The second one may have been staged.
            log = await idle.whole_log(f"/{app}/{number}")
            assert log.endswith(b"-----> The build was stopped on request.\n")


@pytest.mark.slow
async def test_human_readable_info_is_shown_in_jenkins(shuttle: Shuttle, jenkins: Jenkins, app: str):
    description = "release <b>2.0</b> & more é"
    await shuttle.submit(f"/{app}/1", human_readable_info=description)
    build = await shuttle.until(f"/{app}/1")
    assert build["human_readable_info"] == description
    shown = await jenkins.read(f"/job/{build['jenkins']['job']}/1/api/json")
    assert json.loads(shown)["description"] == description
