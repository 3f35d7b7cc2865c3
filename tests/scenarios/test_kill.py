"""SIGKILL at each transition: the next start finishes the build; nothing runs twice, receivers get everything.

With the mark `long` also one of three replicas is killed, and the others finish the builds while it is away.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.free_port import free_port
from tests.support.kafka_cluster import Cluster, kafka_cluster
from tests.support.product import TOKEN, USER, Product, Receiver, archive, running_product, running_replicas
from tests.support.serving import serving
from tests.support.subscribed_build import SUCCEEDED, SubscribedBuild, subscribed_build

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Whether the replica was removed, and each unfinished build has another owner.
TAKEN = (
    "SELECT NOT EXISTS (SELECT FROM replicas WHERE name LIKE '%-{pid}') AND NOT EXISTS (SELECT FROM builds"
    " JOIN apps USING (app_id) LEFT JOIN replicas ON owner = instance WHERE finished_at IS NULL AND instance IS NULL)"
)
# The number of builds that are held at the same time.
HELD_BUILDS = 22


@dataclass
class Stage:
    """The product, a Kafka that is not killed, and proxies from the shuttle to Jenkins and from agents to it."""

    product: Product
    kafka: Cluster
    to_jenkins: FaultyProxy
    to_shuttle: FaultyProxy

    async def kill(self) -> None:
        """Kill the shuttle that owns the builds; other replicas are called from now on, if there are any."""
        if len(self.product.replicas) > 1:
            self.product.balancer.out.clear()
        await self.product.shuttle.kill()

    async def start(self) -> None:
        """Start it again: of several replicas only after the others have taken its builds over."""
        if len(self.product.replicas) > 1:
            await self._until_taken()
        await self.product.shuttle.start()
        self.call_first()

    async def restart(self) -> None:
        await self.kill()
        await self.start()

    def call_first(self) -> None:
        """Let the balancer call the first replica only, so that it owns new apps."""
        if len(self.product.replicas) > 1:
            self.product.balancer.out.update(self.product.ports[1:])

    async def _until_taken(self) -> None:
        postgres = self.product.postgres
        assert postgres is not None
        query = TAKEN.format(pid=self.product.shuttle.pid)
        await postgres.until("replicas", lambda: postgres.query(query) == [(True,)])

    def subscribed_build(self, name: str) -> AbstractAsyncContextManager[SubscribedBuild]:
        return subscribed_build(self.product, self.kafka, name)

    def gate(self, name: str) -> tuple[Path, str]:
        """The path of a file that does not exist yet, and a shell command that waits for it."""
        gate = self.product.folder / f"{name}.gate"
        return gate, f"while [ ! -e {gate} ]; do sleep 0.05; done"

    async def call_jenkins(self, command: str) -> None:
        headers = {"Authorization": aiohttp.encode_basic_auth(USER, TOKEN)}
        async with self.product.session.post(f"{self.to_jenkins.target}/{command}", headers=headers) as response:
            assert response.status == 200


THREE = pytest.param(3, id="three_replicas", marks=[pytest.mark.long, pytest.mark.timeout(200)])


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[pytest.param(1, id="one"), THREE])
async def stage(request, tmp_path_factory) -> AsyncIterator[Stage]:
    jenkins_port, folder = free_port(), tmp_path_factory.mktemp("kill")
    async with (
        kafka_cluster(brokers=2) as kafka,
        faulty_proxy(f"http://127.0.0.1:{jenkins_port}") as to_jenkins,
        faulty_proxy("") as to_shuttle,
    ):
        settings: Any = {
            "MAXIMUM_PARALLEL_BUILDS": str(HELD_BUILDS),
            "JENKINS_URL": to_jenkins.url.replace("://", f"://{USER}:{TOKEN}@"),
            "BUILD_SHUTTLE_HOST": to_shuttle.url,
        }
        start = running_product if request.param == 1 else partial(running_replicas, count=request.param)
        async with start(folder, executors=HELD_BUILDS, jenkins_port=jenkins_port, **settings) as product:
            to_shuttle.target = product.url
            stage = Stage(product, kafka, to_jenkins, to_shuttle)
            stage.call_first()
            yield stage


async def test_kill_right_after_the_answer_to_the_post(stage):
    async with stage.subscribed_build("recorded") as build:
        await build.submit("echo done")
        await stage.restart()
        assert b"\ndone\n" in await build.received_log()


async def test_kill_while_the_source_is_fetched(stage):
    content = archive({"build.sh": f"#!/bin/sh\necho ran >> {stage.product.folder}/staging-1.ran\necho done\n"})
    async with half_served(content) as (source, half_sent), stage.subscribed_build("staging") as build:
        await build.submit("", source={"url": source})
        await half_sent.wait()
        assert (await stage.product.build("staging", "1"))["state"] == "staging"
        await stage.restart()
        assert b"\ndone\n" in await build.received_log()


@asynccontextmanager
async def half_served(content: bytes) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The URL of a source whose first download stalls in the middle, and the event that is set then."""
    half_sent = asyncio.Event()

    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[: len(content) // 2])
        if not half_sent.is_set():
            half_sent.set()
            await asyncio.Event().wait()
        await response.write(content[len(content) // 2 :])
        return response

    app = web.Application()
    app.router.add_get("/source", serve)
    async with serving(app) as url:
        yield f"{url}/source", half_sent


@pytest.mark.timeout(150)  # 22 builds at once
async def test_kill_at_every_call_to_jenkins_and_from_agents(stage):
    """One build is held at each call; then one kill interrupts all of them.

    hang: the call has not arrived when the shuttle is killed; mute: it has arrived, and its answer is lost.
    """
    to_jenkins = [(call, how) for call in ("createItem", "buildWithParameters") for how in HELD]
    to_shuttle = [(call, how) for call in AGENT_CALLS for how in HELD]
    names = [f"called-{number}" for number in range(len(to_jenkins) + len(to_shuttle))]
    async with AsyncExitStack() as stack:
        builds = [await stack.enter_async_context(stage.subscribed_build(name)) for name in names]
        holds = [stage.to_jenkins.until_hits(len(to_jenkins), 60), stage.to_shuttle.until_hits(len(to_shuttle), 60)]
        stage.to_jenkins.fault, stage.to_shuttle.fault = each_once(to_jenkins), each_once(to_shuttle)
        for build in builds:
            await build.submit("seq 1 300; mkdir dist; echo made > dist/made; echo done")
        await asyncio.gather(*holds)
        failed = [await stack.enter_async_context(stage.subscribed_build(f"failed-{how}")) for how in HELD]
        stage.to_shuttle.fault = each_once([("/report", how) for how in HELD])
        for build in failed:
            await build.submit("exit 42")
        await stage.to_shuttle.until_hits(len(to_shuttle) + len(failed), 60)
        await stage.kill()
        stage.to_jenkins.stop_faults()
        stage.to_shuttle.stop_faults()
        await stage.start()
        for build in builds:
            assert b"\n300\ndone\n" in await build.received_log()
        for build in failed:
            assert b"ended with exit status 42" in await build.received_log(["queued", "pending", "failed"])
    for name in names:
        assert [made["name"] for made in (await stage.product.build(name, "1"))["artifacts"]] == ["made"]


HELD = ("hang", "mute")
# In the order of an agent's calls; the last one is the push that ends the log.
AGENT_CALLS = (
    "claim",
    "environment",
    "source.tar.gz",
    "/progress",
    "begin",
    "/log?stream=main&offset=0",
    "artifacts",
    "&end=1&",
)


def each_once(calls: list[tuple[str, str]]) -> Callable[[web.Request], str | None]:
    """A fault for the first request with each of these words in its path, each for another build."""
    left, held = list(calls), set()

    def fault(request: web.Request) -> str | None:
        whose = re.search(r"/-/builds/([^/]+)/", request.path)
        found = next((each for each in left if each[0] in request.path_qs), None)
        if found is None or (whose and whose[1] in held):
            return None
        left.remove(found)
        held.update([whose[1]] if whose else [])
        return found[1]

    return fault


async def test_kill_while_the_build_waits_in_jenkins(stage):
    async with stage.subscribed_build("queued") as build:
        await stage.call_jenkins("quietDown")
        await build.submit("echo done")
        await stage.product.until_state("queued", "1", "queued")
        await stage.restart()
        await stage.call_jenkins("cancelQuietDown")
        assert b"\ndone\n" in await build.received_log()


@pytest.mark.parametrize("who", ["shuttle", "jenkins"])
async def test_kill_in_the_middle_of_the_log(stage, who):
    gate, waiting = stage.gate(f"middle-{who}")
    async with stage.subscribed_build(f"middle-{who}") as build:
        await build.submit(f"seq 1 2000\n{waiting}\nseq 2001 4000\necho done")
        await build.receiver.until(lambda: b"\n2000\n" in build.receiver.log)
        await build.lines.until(lambda messages: any(b'"message":"2000"' in message.value for message in messages))
        await (stage if who == "shuttle" else stage.product.jenkins).restart()
        gate.touch()
        log = await build.received_log()
    assert [line for line in log.split() if line.isdigit()][-4000:] == [b"%d" % number for number in range(1, 4001)]


async def test_kill_of_a_shuttle_whose_build_ends_before_the_restart(stage):
    gate, waiting = stage.gate("ended")
    async with stage.subscribed_build("ended") as build:
        await build.submit(f"{waiting}\necho done")
        await stage.product.until_state("ended", "1", "running")
        await stage.kill()
        gate.touch()
        await stage.start()
        assert b"\ndone\n" in await build.received_log()


async def test_kill_while_a_stop_is_under_way(stage):
    async with stage.subscribed_build("stopped") as build:
        await build.submit("echo started; sleep 600")
        await build.receiver.until(lambda: b"started" in build.receiver.log)
        async with stage.product.session.delete(f"{stage.product.url}/stopped/1") as response:
            assert response.status == 200
        await stage.restart()
        await build.received_log(["queued", "pending", "failed"])
        assert build.receiver.final["reason"] == "stopped"


async def test_kill_while_a_status_is_delivered(stage):
    """For each event. before: the receiver has not accepted the status; after: it has, and its answer is lost."""
    moments = [(word, when) for word in SUCCEEDED for when in ("before", "after")]
    restarted = asyncio.Event()
    async with AsyncExitStack() as stack:
        builds = [
            await stack.enter_async_context(stage.subscribed_build(f"status-{word}-{when}")) for word, when in moments
        ]
        held = [
            hold_status(build.receiver, word, restarted, take_it=when == "after")
            for build, (word, when) in zip(builds, moments, strict=True)
        ]
        for build in builds:
            await build.submit("echo done")
        for arrived in held:
            await arrived.wait()
        await stage.kill()
        restarted.set()
        await stage.start()
        for build, (word, when) in zip(builds, moments, strict=True):
            assert b"\ndone\n" in await build.received_log()
            received = [status["status"] for status in build.receiver.statuses]
            assert received.count(word) == (2 if when == "after" else 1)


def hold_status(receiver: Receiver, word: str, released: asyncio.Event, *, take_it: bool) -> asyncio.Event:
    """Let the receiver hold its answer to the first status with this word, accepted or not; returns the event that is
    set when the status arrives."""
    arrived, take = asyncio.Event(), receiver.on_status

    async def hold(request: web.Request) -> web.Response:
        body = await request.json()
        if released.is_set() or body["status"] != word:
            return await take(request)
        if take_it:
            await take(request)
        arrived.set()
        await released.wait()
        return web.Response(status=500)  # nobody gets this answer: the sender was killed

    receiver.on_status = hold  # type: ignore[method-assign]
    return arrived
