"""Jenkins forgets an item that left its queue, after five minutes or a restart: the build is found by its marker.

A Jenkins that was killed may give the number of a lost item to another one.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from jenkins_emulator.queue import LEFT_ITEM_SECONDS
from tests.contract.jenkins.job_xml import job_xml
from tests.support.inprocess import Jenkins, Shuttle, running_jenkins, running_shuttle


class Watch:
    """A Clock for the emulated Jenkins: the machine's time plus what a test has added."""

    ahead_seconds = 0.0

    def now(self) -> float:
        return time.time() + self.ahead_seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def five_minutes_pass(jenkins: Jenkins, watch: Watch) -> None:
    watch.ahead_seconds = LEFT_ITEM_SECONDS + 1


async def jenkins_restarts(jenkins: Jenkins, watch: Watch) -> None:
    await jenkins.emulated.close()
    await jenkins.emulated.start()


@pytest.mark.slow
@pytest.mark.parametrize("forgetting", [five_minutes_pass, jenkins_restarts])
async def test_build_of_a_forgotten_queue_item_is_found_by_its_marker(
    tmp_path: Path, forgetting: Callable[[Jenkins, Watch], Awaitable[None]]
):
    watch = Watch()
    async with (
        running_jenkins(tmp_path, executors=1, clock=watch) as jenkins,
        running_shuttle(tmp_path, jenkins.url, MAXIMUM_PARALLEL_BUILDS="2") as shuttle,
    ):
        gate = tmp_path / "gate"
        await shuttle.submit("/holds-the-executor/1", f"while [ ! -e {gate} ]; do sleep 0.1; done")
        await shuttle.until("/holds-the-executor/1", "running")
        jenkins.fault = lambda request: web.Response(status=503) if "/queue/item/" in request.path else None
        await shuttle.submit("/app/1", f"echo ran >> {tmp_path}/ran")
        queued = await shuttle.until_shown("/app/1", lambda build: build["jenkins"]["queue_item"] is not None)
        assert queued["jenkins"]["build_number"] is None
        await forgetting(jenkins, watch)
        item = f"/queue/item/{queued['jenkins']['queue_item']}/api/json"
        assert await jenkins.call("GET", item) == 404
        jenkins.fault = None
        await shuttle.until_shown("/app/1", lambda build: build["jenkins"]["build_number"] == 1)
        gate.touch()
        for path in ("/holds-the-executor/1", "/app/1"):
            assert (await shuttle.until(path))["state"] == "succeeded"
        assert sum("buildWithParameters" in path for _, path in jenkins.calls) == 2
    assert (tmp_path / "ran").read_text() == "ran\n"


async def jenkins_is_killed(jenkins: Jenkins, folder: Path, item: int) -> None:
    """Kill and start a Jenkins that has not saved its queue since before the item: the next item gets its number."""
    await jenkins.emulated.close()
    (folder / "jenkins" / "queue" / f"{item}.json").unlink()
    (folder / "jenkins" / "queue" / "next-id").write_text(str(item))
    await jenkins.emulated.start()


@asynccontextmanager
async def item_of_others(folder: Path, delay: str) -> AsyncIterator[tuple[Shuttle, Jenkins, int]]:
    """The build /app/1 is queued as an item whose number now belongs to the item of a job of others."""
    async with running_jenkins(folder) as jenkins, running_shuttle(folder, jenkins.url) as shuttle:
        assert await jenkins.call("POST", "/quietDown") == 302
        await shuttle.submit("/app/1")
        queued = await shuttle.until_shown("/app/1", lambda build: build["jenkins"]["queue_item"] is not None)
        item = queued["jenkins"]["queue_item"]
        jenkins.fault = lambda _: web.Response(status=503)
        await jenkins_is_killed(jenkins, folder, item)
        xml = {"Content-Type": "application/xml"}
        assert await jenkins.call("POST", "/createItem?name=theirs", data=job_xml("true"), headers=xml) == 200
        assert await jenkins.call("POST", f"/job/theirs/buildWithParameters?WHO=they&delay={delay}") == 201
        theirs = json.loads(await jenkins.read(f"/queue/item/{item}/api/json"))
        assert theirs["task"]["name"] == "theirs"
        yield shuttle, jenkins, item


@pytest.mark.slow
async def test_stop_does_not_cancel_an_item_of_others_that_got_the_number(tmp_path: Path):
    async with item_of_others(tmp_path, "3600sec") as (shuttle, jenkins, item):
        assert (await shuttle.delete("/app/1")).status == 200
        jenkins.fault = None
        assert (await shuttle.until("/app/1"))["state"] == "stopped"
        theirs = json.loads(await jenkins.read(f"/queue/item/{item}/api/json"))
        assert theirs["_class"] == "hudson.model.Queue$WaitingItem"


@pytest.mark.slow
async def test_build_of_others_whose_item_got_the_number_is_not_taken_for_ours(tmp_path: Path):
    async with item_of_others(tmp_path, "0sec") as (shuttle, jenkins, _):
        await jenkins.finished("theirs", 1)
        jenkins.fault = None
        build = await shuttle.until("/app/1")
        assert (build["reason"], build["jenkins"]["build_number"]) == ("lost_in_jenkins", None)
