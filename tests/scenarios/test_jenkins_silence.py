"""Jenkins refuses connections for 30 s, or never answers a call. The cases run at the same time.

The timeouts are the real ones: 30 s for an answer.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from shuttle.build import job_name_of
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.free_port import free_port
from tests.support.product import TOKEN, USER, Product, Receiver, running_product
from tests.support.tcp_proxy import tcp_proxy

pytestmark = [pytest.mark.timeout(200), pytest.mark.asyncio(loop_scope="module")]
REFUSED_SECONDS = 30
# Two timeouts of 30 s, and the time before, between and after them.
LONGEST_SECONDS = 100
ALL = ["queued", "pending", "succeeded"]


def script(folder: Path, name: str) -> str:
    """A script that prints 1 to 300, waits for its gate, prints 301 to 600, and adds a line to a file in each run."""
    wait = f"while [ ! -e {folder}/{name}.gate ]; do sleep 0.05; done"
    return f"#!/bin/sh\necho ran >> {folder}/{name}.ran\nseq 1 300\n{wait}\nseq 301 600\n"


async def succeeds_once(product: Product, receiver: Receiver, name: str) -> None:
    """Wait for the end: the build has succeeded, has run once, and its log is complete."""
    await receiver.until(lambda: receiver.final is not None and receiver.log_ended > 0, LONGEST_SECONDS)
    assert receiver.words() == ALL, (name, receiver.final)
    log = bytes(receiver.log)
    assert receiver.final["log_sha256"] == hashlib.sha256(log).hexdigest()
    assert [int(line) for line in log.split() if line.isdigit()][-600:] == list(range(1, 601))
    assert await product.log(name, "1") == log
    assert (product.folder / f"{name}.ran").read_text().split() == ["ran"]


async def stop(product: Product, name: str) -> None:
    async with product.session.delete(f"{product.url}/{name}/1") as response:
        assert response.status == 200, await response.text()


async def ends_stopped(receiver: Receiver) -> None:
    await receiver.until(lambda: receiver.final is not None and receiver.log_ended > 0, LONGEST_SECONDS)
    assert (receiver.final["status"], receiver.final["reason"]) == ("failed", "stopped")
    assert receiver.final["log_sha256"] == hashlib.sha256(bytes(receiver.log)).hexdigest()


# --- refused


async def refused(folder: Path) -> None:
    """Running builds and their stops end by their agents' reports; builds that were not begun wait for Jenkins."""
    port = free_port()
    async with tcp_proxy(0, 0) as network:
        network.target_port = port
        url = network.url.replace("://", f"://{USER}:{TOKEN}@")
        async with running_product(
            folder, jenkins_port=port, JENKINS_URL=url, MAXIMUM_PARALLEL_BUILDS="10", executors=2
        ) as product:
            receivers = {name: product.receiver(name) for name in ("runs", "stops", "waits", "asked", "never")}
            for name in ("runs", "stops"):
                await product.submit(name, "1", script(folder, name), receivers[name])
                await receivers[name].until(lambda name=name: b"\n300\n" in receivers[name].log)
            await product.submit("waits", "1", script(folder, "waits"), receivers["waits"])
            await product.until_state("waits", "1", "queued")
            await network.refuse()
            refused_until = asyncio.get_running_loop().time() + REFUSED_SECONDS
            for name in ("asked", "never"):
                await product.submit(name, "1", script(folder, name), receivers[name])
            await product.until_waiting("asked", "1")
            await stop(product, "stops")
            await stop(product, "never")
            await ends_stopped(receivers["never"])
            for name in ("runs", "waits", "asked"):
                (folder / f"{name}.gate").touch()
            await succeeds_once(product, receivers["runs"], "runs")
            await ends_stopped(receivers["stops"])
            # After `runs` or `stops` an executor is free. This build begins although the shuttle cannot reach Jenkins.
            await succeeds_once(product, receivers["waits"], "waits")
            left_seconds = max(refused_until - asyncio.get_running_loop().time(), 1)
            with pytest.raises(TimeoutError):
                await receivers["asked"].until(lambda: receivers["asked"].final, left_seconds)
            assert (await product.build("asked", "1"))["state"] == "staging"
            await network.listen()
            await succeeds_once(product, receivers["asked"], "asked")
            assert not (folder / "never.ran").exists()


# --- accepted, and never answered

# By build: the fault of the proxy, and a part of the path of the call that is not answered.
SILENCES = {
    "job": ("hang", "/api/json"),
    "trigger": ("hang", "/buildWithParameters"),
    "trigger-done": ("mute", "/buildWithParameters"),
    "build": ("hang", "/1/api/json"),
    "build-half": ("stall", "/1/api/json"),
    "stop": ("hang", "/1/stop"),
    "stop-done": ("mute", "/1/stop"),
}
# These calls are made for all builds together, or have a number that only Jenkins knows, so they belong to no build.
# One fault at a time: a build that waits for the list may be claimed meanwhile, and then does not ask for its item.
SHARED_SILENCES = {part: ("hang", part) for part in ("/queue/item/", "/queue/api/json")}


class OnceEach:
    """Does not answer the first call of each kind. `left` maps a part of its path to the fault and another part."""

    def __init__(self, left: dict[str, tuple[str, str]], *, in_turn: bool = False) -> None:
        self.left = left
        self.in_turn = in_turn

    def __call__(self, request: web.Request) -> str | None:
        for where, (how, part) in self.left.items():
            if where in request.path and part in request.path:
                del self.left[where]
                return how
            if self.in_turn:
                break
        return None


async def silent(folder: Path) -> None:
    """A build for each kind of call that is never answered."""
    silences = {f"/job/{job_name_of(name)}/": silence for name, silence in SILENCES.items()}
    await _builds_beside(folder, OnceEach(silences), list(SILENCES))


async def silent_queue(folder: Path) -> None:
    """The calls for all builds together are never answered."""
    await _builds_beside(folder, OnceEach(dict(SHARED_SILENCES), in_turn=True), ["one", "other"])


async def _builds_beside(folder: Path, fault: OnceEach, names: list[str]) -> None:
    port = free_port()
    async with faulty_proxy(f"http://127.0.0.1:{port}") as proxy:
        url = proxy.url.replace("://", f"://{USER}:{TOKEN}@")
        proxy.fault = fault
        async with running_product(
            folder, jenkins_port=port, JENKINS_URL=url, MAXIMUM_PARALLEL_BUILDS="10", executors=10
        ) as product:
            receivers = {name: product.receiver(name) for name in names}
            for number, (name, receiver) in enumerate(receivers.items(), start=1):
                if not name.startswith(("stop", "build")):
                    (folder / f"{name}.gate").touch()
                await product.submit(name, "1", script(folder, name), receiver)
                if fault.in_turn:
                    await proxy.until_hits(number)
            async with asyncio.TaskGroup() as ends:
                for name, receiver in receivers.items():
                    if name.startswith("build"):
                        ends.create_task(_asked_for_in_silence(proxy, fault, folder, name))
                    if name.startswith("stop"):
                        ends.create_task(_stopped_in_mid_build(product, receiver, name))
                    else:
                        ends.create_task(succeeds_once(product, receiver, name))
            assert not fault.left, "some calls were not made"


async def _asked_for_in_silence(proxy: FaultyProxy, fault: OnceEach, folder: Path, name: str) -> None:
    """End the build only after Jenkins was asked about it, because its agent had nothing to send."""
    job = f"/job/{job_name_of(name)}/"
    await proxy.until(lambda: job not in fault.left and any(job in path for path, _ in proxy.hits), LONGEST_SECONDS)
    (folder / f"{name}.gate").touch()


async def _stopped_in_mid_build(product: Product, receiver: Receiver, name: str) -> None:
    await receiver.until(lambda: b"\n300\n" in receiver.log, LONGEST_SECONDS)
    await stop(product, name)
    await ends_stopped(receiver)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runs(tmp_path_factory) -> AsyncIterator[dict[str, asyncio.Task[None]]]:
    """The cases run at the same time, because they mostly wait."""
    flows: dict[str, Coroutine[Any, Any, None]] = {
        flow.__name__: flow(tmp_path_factory.mktemp(flow.__name__)) for flow in (refused, silent, silent_queue)
    }
    tasks = {name: asyncio.create_task(flow) for name, flow in flows.items()}
    yield tasks
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)


@pytest.mark.parametrize("flow", ["refused", "silent", "silent_queue"])
async def test_jenkins_is_unreachable_for_long(runs, flow):
    await runs[flow]
