"""A Jenkins that is down, sends invalid responses or loses them never ends a build.

See docs/contract.md, "Ends of builds".
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from shuttle.build import job_name_of
from shuttle.web import readiness
from tests.support.faulty_proxy import faulty_proxy
from tests.support.inprocess import running_jenkins, running_shuttle
from tests.support.product import TOKEN, USER


def leaves_a_mark(folder: Path) -> str:
    return f"echo ran >> {folder}/ran; echo done"


def with_login(url: str) -> str:
    return str(URL(url).with_user(USER).with_password(TOKEN))


@pytest.mark.slow
async def test_build_waits_for_a_jenkins_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(readiness, "_CACHE_SECONDS", 0)
    async with running_jenkins(tmp_path) as jenkins, running_shuttle(tmp_path, jenkins.url) as shuttle:
        await jenkins.stop()
        async with asyncio.timeout(5):
            await shuttle.submit("/app/1", leaves_a_mark(tmp_path))
        waiting = await shuttle.until_shown("/app/1", lambda build: build["waiting_for"])
        assert waiting["waiting_for"].startswith("Jenkins: ")
        assert waiting["state"] == "staging"
        ready = await shuttle.get("/readyz")
        assert (ready.status, ready.json["status"]) == (200, "degraded")
        assert ready.json["checks"]["database"] == ready.json["checks"]["object_store"] == "ok"
        assert "Jenkins is out of reach" in ready.json["checks"]["jenkins"]
        assert ((probe := await shuttle.get("/octhc")).status, probe.body) == (503, b"overall_status=bad")
        assert (await shuttle.get("/healthz")).status == 200
        await jenkins.start()
        build = await shuttle.until("/app/1")
        assert (build["state"], build["waiting_for"]) == ("succeeded", None)
        ready = await shuttle.get("/readyz")
        assert (ready.status, set(ready.json["checks"].values())) == (200, {"ok"})
        assert ((probe := await shuttle.get("/octhc")).status, probe.body) == (200, b"overall_status=good")
    assert (tmp_path / "ran").read_text() == "ran\n"


ANSWERS: dict[str, Callable[[], web.StreamResponse]] = {
    "500": lambda: web.Response(status=500, text="<html>oops</html>"),
    "503": lambda: web.Response(status=503, text="<html>Please wait while Jenkins is getting ready</html>"),
    "502 of a proxy": lambda: web.Response(status=502, text="bad gateway"),
    "a login page": lambda: web.Response(text="<html>sign in</html>", content_type="text/html"),
    "no JSON": lambda: web.Response(text='{"builds": [', content_type="application/json"),
    "other JSON": lambda: web.json_response([1, None, {"building": "maybe"}]),
    "403": lambda: web.Response(status=403, headers={"X-Required-Permission": "hudson.model.Item.Read"}),
    "401": lambda: web.Response(status=401),
    "404 of a proxy": lambda: web.Response(status=404, text="no such site"),
}


@pytest.mark.slow
async def test_invalid_response_to_any_request_is_retried(tmp_path: Path):
    """One build for each kind of invalid response: every request to Jenkins fails once, and the script runs once."""
    asked: Counter[str] = Counter()
    jobs = {job_name_of(f"app-{number}"): make for number, make in enumerate(ANSWERS.values())}

    def fault(request: web.Request) -> Any:
        job = next((job for job in jobs if f"/job/{job}/" in request.path + "/"), None)
        call = f"{request.method} {request.path}"
        asked[call] += 1
        if job is not None:
            return jobs[job]() if asked[call] == 1 else None
        number = asked[call] - 1  # requests for all builds together fail in every way
        return list(ANSWERS.values())[number]() if number < len(ANSWERS) else None

    async with (
        running_jenkins(tmp_path, executors=9) as jenkins,
        running_shuttle(tmp_path, jenkins.url, MAXIMUM_PARALLEL_BUILDS="9") as shuttle,
    ):
        jenkins.fault = fault
        for number in range(len(ANSWERS)):
            (tmp_path / str(number)).mkdir()
            await shuttle.submit(f"/app-{number}/1", leaves_a_mark(tmp_path / str(number)))
        for number, what in enumerate(ANSWERS):
            build = await shuttle.until(f"/app-{number}/1")
            assert build["state"] == "succeeded", (what, build["reason"], build["message"])
            assert (await shuttle.whole_log(f"/app-{number}/1")).count(b"\ndone\n") == 1
            assert (tmp_path / str(number) / "ran").read_text() == "ran\n"
    for job in jobs:
        assert {f"POST /job/{job}/buildWithParameters", f"GET /job/{job}/api/json"} <= asked.keys()


@pytest.mark.slow
async def test_trigger_whose_response_is_lost_is_not_repeated(tmp_path: Path):
    lost = asyncio.Event()

    def first_trigger(request: web.Request) -> bool:
        if "buildWithParameters" in request.path and not lost.is_set():
            lost.set()
            return True
        return False

    async with running_jenkins(tmp_path) as jenkins, running_shuttle(tmp_path, jenkins.url) as shuttle:
        jenkins.lose_answers = first_trigger
        await shuttle.submit("/app/1", leaves_a_mark(tmp_path))
        assert (await shuttle.until("/app/1"))["state"] == "succeeded"
        assert lost.is_set()
        assert sum("buildWithParameters" in path for _, path in jenkins.calls) == 1
    assert (tmp_path / "ran").read_text() == "ran\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "part"),
    [
        ("mute", "/buildWithParameters"),
        ("hang", "/queue/api/json"),
        ("hang", "/queue/item/"),
        ("hang", "/submitDescription"),
    ],
    ids=["trigger", "queue", "queue item", "description"],
)
async def test_hanging_request_to_jenkins_does_not_delay_a_claimed_build(tmp_path: Path, fault: str, part: str):
    """The shuttle waits 30 s for a response; the build ends earlier."""
    async with (
        running_jenkins(tmp_path) as jenkins,
        faulty_proxy(f"http://127.0.0.1:{jenkins.port}") as proxy,
        running_shuttle(tmp_path, with_login(proxy.url)) as shuttle,
    ):
        proxy.fault = lambda request: fault if part in request.path else None
        await shuttle.submit("/app/1", leaves_a_mark(tmp_path), human_readable_info="for people")
        assert (await shuttle.until("/app/1"))["state"] == "succeeded"
        assert b"\ndone\n" in await shuttle.whole_log("/app/1")
        assert {what for _, what in proxy.hits} == {fault}
        assert sum("buildWithParameters" in path for _, path in jenkins.calls) == 1
    assert (tmp_path / "ran").read_text() == "ran\n"


@pytest.mark.slow
async def test_stop_reaches_the_supervisor_while_jenkins_is_down(tmp_path: Path):
    async with running_jenkins(tmp_path) as jenkins, running_shuttle(tmp_path, jenkins.url) as shuttle:
        await shuttle.submit("/app/1", "while :; do echo tick; sleep 0.1; done")
        await shuttle.until("/app/1", "running")
        await jenkins.stop()
        assert (await shuttle.delete("/app/1")).status == 200
        assert (await shuttle.until("/app/1"))["state"] == "stopped"
        await jenkins.start()


@pytest.mark.slow
async def test_stop_recorded_while_jenkins_is_down_is_executed_later(tmp_path: Path):
    async with running_jenkins(tmp_path) as jenkins, running_shuttle(tmp_path, jenkins.url) as shuttle:
        await shuttle.submit("/app/1", "echo begun; sleep 30")
        await shuttle.until("/app/1", "running")
        await jenkins.stop()
        async with asyncio.timeout(5):
            for _ in range(2):
                assert (await shuttle.delete("/app/1")).status == 200
        assert (await shuttle.build("/app/1"))["state"] == "running"
        await jenkins.start()
        build = await shuttle.until("/app/1")
        assert (build["state"], build["reason"]) == ("stopped", "stopped")


@pytest.mark.slow
async def test_stopped_build_is_never_triggered(tmp_path: Path):
    async with running_jenkins(tmp_path) as jenkins, running_shuttle(tmp_path, jenkins.url) as shuttle:
        await jenkins.stop()
        await shuttle.submit("/app/1", leaves_a_mark(tmp_path))
        await shuttle.until_shown("/app/1", lambda build: build["waiting_for"])
        await shuttle.delete("/app/1")
        assert (await shuttle.build("/app/1"))["state"] == "stopped"
        await jenkins.start()
        await shuttle.submit("/app/2")
        assert (await shuttle.until("/app/2"))["state"] == "succeeded"
        assert sum("buildWithParameters" in path for _, path in jenkins.calls) == 1
    assert not (tmp_path / "ran").exists()


async def test_deadline_ends_a_build_that_never_started(tmp_path: Path):
    settings = {"SHUTTLE_BUILD_DEADLINE_SECONDS": "0.4", "MAXIMUM_PARALLEL_BUILDS": "1"}
    async with running_shuttle(tmp_path, **settings) as shuttle:
        await shuttle.submit("/app/1")
        build = await shuttle.until("/app/1")
        assert (build["state"], build["status"], build["reason"]) == ("timedout", "timedout", "deadline")


async def test_deadline_ends_a_build_that_waits_for_a_slot(tmp_path: Path):
    """The first build has the only slot; the waiting one has no task of its own."""
    settings = {"SHUTTLE_BUILD_DEADLINE_SECONDS": "0.6", "MAXIMUM_PARALLEL_BUILDS": "1"}
    async with running_shuttle(tmp_path, **settings) as shuttle:
        await shuttle.submit("/app/1")
        await shuttle.submit("/other/1")
        async with asyncio.timeout(4):
            for path in ("/app/1", "/other/1"):
                assert (await shuttle.until(path))["reason"] == "deadline"
