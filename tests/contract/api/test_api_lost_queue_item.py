"""Jenkins forgets an item that left its queue, after five minutes or a restart: the build is found by its marker."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from jenkins_emulator.queue import LEFT_ITEM_SECONDS
from tests.support.inprocess import Jenkins, running_jenkins, running_shuttle


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
