"""SIGKILL in each state: the next start finishes the build, once, with every log byte and every status."""

import asyncio
import hashlib
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from tests.product import Product, Receiver, archive, running_product

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kill")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def product(folder):
    async with running_product(folder, executors=1) as running:
        yield running


def counting(folder: Path, name: str, rest: str) -> str:
    """A build.sh that leaves a mark each time it runs."""
    return f"#!/bin/sh\necho ran >> {folder}/{name}.ran\n{rest}\n"


async def finished_once(product: Product, receiver: Receiver, app_id: str, name: str, *, words: list[str]) -> bytes:
    """The build's end, proven from the receiver's side; returns the log."""
    await receiver.until(lambda: receiver.final is not None and receiver.log_ended > 0)
    assert receiver.words() == words
    log = bytes(receiver.log)
    assert receiver.final is not None
    assert receiver.final["log_bytes"] == len(log)
    assert receiver.final["log_sha256"] == hashlib.sha256(log).hexdigest()
    assert await product.log(app_id, "1") == log
    mark = product.folder / f"{name}.ran"
    assert mark.read_text().split() == ["ran"]
    return log


ALL = ["queued", "pending", "succeeded"]


async def test_right_after_the_answer(product, folder):
    receiver = product.receiver("recorded")
    await product.submit("recorded", "1", counting(folder, "recorded", "echo done"), receiver)
    await product.shuttle.restart()
    assert b"\ndone\n" in await finished_once(product, receiver, "recorded", "recorded", words=ALL)


async def test_while_the_source_is_fetched(product, folder):
    content = archive({"build.sh": counting(folder, "staging", "echo done")})
    half_sent, asked = asyncio.Event(), []

    async def serve(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[: len(content) // 2])
        if len(asked) == 1:
            half_sent.set()
            await asyncio.Event().wait()
        await response.write(content[len(content) // 2 :])
        return response

    app = web.Application()
    app.router.add_get("/source", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver = product.receiver("staging")
    source = {"url": f"http://127.0.0.1:{runner.addresses[0][1]}/source"}
    await product.submit("staging", "1", "", receiver, source=source)
    await half_sent.wait()
    assert (await product.build("staging", "1"))["state"] == "staging"
    await product.shuttle.restart()
    assert b"\ndone\n" in await finished_once(product, receiver, "staging", "staging", words=ALL)
    await runner.cleanup()


async def test_while_it_waits_in_jenkins(product, folder):
    gate = folder / "gate"
    blocking = product.receiver("blocking")
    await product.submit("blocking", "1", f"#!/bin/sh\nwhile [ ! -e {gate} ]; do sleep 0.05; done\n", blocking)
    await product.until_state("blocking", "1", "running")
    receiver = product.receiver("queued")
    await product.submit("queued", "1", counting(folder, "queued", "echo done"), receiver)
    await product.until_state("queued", "1", "queued")
    await product.shuttle.restart()
    gate.touch()
    assert b"\ndone\n" in await finished_once(product, receiver, "queued", "queued", words=ALL)
    await blocking.until(lambda: blocking.words() == ALL)


async def test_in_the_middle_of_the_log(product, folder):
    gate = folder / "gate2"
    script = counting(
        folder, "running", f"seq 1 2000\nwhile [ ! -e {gate} ]; do sleep 0.05; done\nseq 2001 4000\necho done"
    )
    receiver = product.receiver("running")
    await product.submit("running", "1", script, receiver)
    await receiver.until(lambda: b"\n2000\n" in receiver.log)
    await product.shuttle.restart()
    gate.touch()
    log = await finished_once(product, receiver, "running", "running", words=ALL)
    assert [line for line in log.split() if line.isdigit()][-4000:] == [b"%d" % number for number in range(1, 4001)]


async def test_jenkins_in_the_middle_of_the_log(product, folder):
    gate = folder / "gate3"
    script = counting(
        folder, "jenkins", f"seq 1 500\nwhile [ ! -e {gate} ]; do sleep 0.05; done\nseq 501 1000\necho done"
    )
    receiver = product.receiver("jenkins")
    await product.submit("jenkins", "1", script, receiver)
    await receiver.until(lambda: b"\n500\n" in receiver.log)
    await product.jenkins.restart()
    gate.touch()
    log = await finished_once(product, receiver, "jenkins", "jenkins", words=ALL)
    assert [line for line in log.split() if line.isdigit()][-1000:] == [b"%d" % number for number in range(1, 1001)]


async def test_when_the_work_ended_meanwhile(product, folder):
    gate = folder / "gate4"
    receiver = product.receiver("ended")
    script = counting(folder, "ended", f"while [ ! -e {gate} ]; do sleep 0.05; done\necho done")
    await product.submit("ended", "1", script, receiver)
    await product.until_state("ended", "1", "running")
    await product.shuttle.kill()
    gate.touch()
    await product.shuttle.start()
    assert b"\ndone\n" in await finished_once(product, receiver, "ended", "ended", words=ALL)


async def test_while_a_stop_is_under_way(product, folder):
    receiver = product.receiver("stopped")
    await product.submit("stopped", "1", counting(folder, "stopped", "echo started; sleep 600"), receiver)
    await receiver.until(lambda: b"started" in receiver.log)
    async with product.session.delete(f"{product.url}/stopped/1") as response:
        assert response.status == 200
    await product.shuttle.restart()
    await finished_once(product, receiver, "stopped", "stopped", words=["queued", "pending", "failed"])
    assert receiver.final["reason"] == "stopped"


async def test_before_the_final_status_was_taken(product, folder):
    receiver = product.receiver("outbox")
    refused = asyncio.Event()
    accept = receiver.on_status
    restarted: list[bool] = []

    async def refuse_until_restarted(request: web.Request) -> web.Response:
        body = await request.json()
        if body["building"] or body["status"] == "queued" or restarted:
            answer: web.Response = await accept(request)
            return answer
        refused.set()
        return web.Response(status=500)

    receiver.on_status = refuse_until_restarted
    await product.submit("outbox", "1", counting(folder, "outbox", "echo done"), receiver)
    await refused.wait()
    await product.shuttle.kill()
    restarted.append(True)
    await product.shuttle.start()
    await finished_once(product, receiver, "outbox", "outbox", words=ALL)
