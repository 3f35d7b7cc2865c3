"""The spool's disk is lost during a restart while builds run: agents send again, and no byte of the log changes.

The tests act as the agents. The log's receiver fails a test if a byte that it has received changes.
"""

import asyncio
import hashlib
import shutil
import threading
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from shuttle.logs.mask import Masker
from tests.contract.agent_caller import Agent, agent_of
from tests.support.inprocess import Jenkins, Shuttle, running_jenkins, running_shuttle
from tests.support.product import Receiver
from tests.support.serving import serving

pytestmark = pytest.mark.slow

PATH = "/app/1"
NOBODY = {"SHUTTLE_JENKINS_AGENT_LABEL": "nowhere"}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application(client_max_size=0)
    app.router.add_post("/log", made.on_log)
    app.router.add_post("/status", made.on_status)
    async with serving(app) as made.url:
        yield made


@pytest.fixture
async def jenkins(tmp_path: Path) -> AsyncIterator[Jenkins]:
    async with running_jenkins(tmp_path) as running:
        yield running


async def claimed(shuttle: Shuttle, receiver: Receiver | None = None) -> Agent:
    """The agent of a new build whose log goes to the receiver: claimed, not begun."""
    hooks = {} if receiver is None else {"logs": [f"{receiver.url}/log"], "status": f"{receiver.url}/status"}
    await shuttle.submit(PATH, webhooks=hooks)
    await shuttle.until(PATH, "queued")
    agent = await agent_of(shuttle, PATH)
    assert (await agent.claim()).status == 200
    return agent


async def branch_of(agent: Agent, name: str) -> Agent:
    """The agent of a branch, claimed and begun."""
    return await Agent(agent.shuttle, agent.path, agent.uuid, agent.token).begun(branch=name)


async def succeeds_with_whole_log(shuttle: Shuttle, receiver: Receiver) -> bytes:
    """Wait until the build succeeds; check that receiver, final status and archive have the same log, and return it."""
    await shuttle.until(PATH, "succeeded")
    await receiver.until(lambda: receiver.final and receiver.log_ended)
    log = bytes(receiver.log)
    assert receiver.final is not None
    assert (receiver.final["log_bytes"], receiver.final["log_sha256"]) == (len(log), hashlib.sha256(log).hexdigest())
    await shuttle.until_settled((await shuttle.build(PATH))["build_uuid"])
    assert await shuttle.whole_log(PATH) == log
    return log


async def test_streams_are_written_again_in_their_recorded_order(tmp_path: Path, jenkins: Jenkins, receiver: Receiver):
    async with running_shuttle(tmp_path, jenkins.url, **NOBODY) as shuttle:
        main = await claimed(shuttle, receiver)
        await main.ask("POST", "begin")
        left, right = [await branch_of(main, name) for name in ("left", "right")]
        for turn in range(3):
            for agent, name in ((main, "main"), (right, "right"), (left, "left")):
                await agent.push(f"{name} {turn}\n{name} {turn} more\n".encode())
                await receiver.until(partial(has_got, receiver, f"{name} {turn} more\n"))
    shown = bytes(receiver.log)
    shutil.rmtree(shuttle.data / "spool")
    async with running_shuttle(tmp_path, jenkins.url, PORT=str(shuttle.port), **NOBODY) as shuttle:
        for agent, name in ((left, "left"), (main, "main"), (right, "right")):
            agent.shuttle = shuttle
            answer = await agent.push(b"new\n")
            assert (answer.status, answer.headers["Shuttle-Log-Offset"]) == (409, "0")
            earlier = "".join(f"{name} {turn}\n{name} {turn} more\n" for turn in range(3))
            await agent.push(earlier.encode() + b"new\n")
        await end_in_jenkins(jenkins, shuttle)
        for agent in (left, right, main):
            assert (await agent.end()).status == 200
        log = await succeeds_with_whole_log(shuttle, receiver)
    assert log.startswith(shown)
    assert sorted(log[len(shown) :].splitlines()) == [b"[left] new", b"[right] new", b"new"]


def has_got(receiver: Receiver, text: str) -> bool:
    return text.encode() in receiver.log


async def end_in_jenkins(jenkins: Jenkins, shuttle: Shuttle) -> None:
    """End the build in Jenkins: only Jenkins knows that no further branch will claim it."""
    found = (await shuttle.build(PATH))["jenkins"]
    assert await jenkins.call("POST", f"/job/{found['job']}/{found['build_number']}/stop") in {200, 302}


async def test_bytes_that_cannot_be_sent_again_do_not_block_the_replay(tmp_path: Path, jenkins: Jenkins):
    """The bytes of a superseded attempt and of an ended branch are lost, and a line in the log says so."""
    async with running_shuttle(tmp_path, jenkins.url, **NOBODY) as shuttle:
        first = await claimed(shuttle)
        await first.push(b"of the first attempt\n")
        second = await agent_of(shuttle, PATH)
        await second.claim(nonce="another-nonce-0001")
        await second.ask("POST", "begin")
        await second.push(b"of the second attempt\n")
        await (await branch_of(second, "left")).end(0, b"of a branch\n")
        await second.push(b"more\n")
    shutil.rmtree(shuttle.data / "spool")
    async with running_shuttle(tmp_path, jenkins.url, PORT=str(shuttle.port), **NOBODY) as shuttle:
        second.shuttle = shuttle
        await second.push(b"of the second attempt\nmore\nnew\n", offset=0)
        await end_in_jenkins(jenkins, shuttle)
        assert (await second.end()).status == 200
        ended = await shuttle.until(PATH, "succeeded")
        log = await shuttle.whole_log(PATH)
    assert log.splitlines()[-4:-1] == [b"of the second attempt", b"more", b"new"]
    assert log.splitlines()[-1] == b"-----> A part of this log was lost with the shuttle's disk."
    assert ended["log"]["sha256"] == hashlib.sha256(log).hexdigest()


async def test_a_log_that_is_opened_during_a_second_claim_knows_the_newest_attempt(
    tmp_path: Path, jenkins: Jenkins, monkeypatch: pytest.MonkeyPatch
):

    opening, superseded = threading.Event(), threading.Event()

    class SlowMasker(Masker):
        def __init__(self, secrets: Sequence[str]) -> None:
            opening.set()
            assert superseded.wait(10)
            super().__init__(secrets)

    monkeypatch.setattr("shuttle.lifecycle.build_logs.Masker", SlowMasker)
    async with running_shuttle(tmp_path, jenkins.url, **NOBODY) as shuttle:
        first = await claimed(shuttle)
        assert await asyncio.to_thread(opening.wait, 10)
        second = await agent_of(shuttle, PATH)
        await second.claim(nonce="another-nonce-0001")
        superseded.set()
        assert (await second.push(b"of the second attempt\n")).status == 200
        assert (await first.push(b"of the first attempt\n")).status == 410
        await second.end()
        assert b"first" not in await shuttle.whole_log(PATH)


async def test_a_push_that_is_superseded_on_the_way_is_refused(tmp_path: Path, jenkins: Jenkins, receiver: Receiver):
    async with running_shuttle(tmp_path, jenkins.url, **NOBODY) as shuttle:
        first = await claimed(shuttle, receiver)
        superseded = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield (b"x" * 99 + b"\n") * 3000
            await superseded.wait()
            yield b"too late\n"

        pushing = asyncio.create_task(first.push(slowly()))
        await receiver.until(lambda: b"xx" in receiver.log)
        second = await agent_of(shuttle, PATH)
        await second.claim(nonce="another-nonce-0001")
        await second.ask("POST", "begin")
        await second.push(b"begun\n")
        superseded.set()
        assert (await pushing).status == 410
        await second.push(b"ended\n")
        await second.end()
        log = await succeeds_with_whole_log(shuttle, receiver)
    assert log.endswith(b"x\nbegun\nended\n")


async def test_a_disk_that_is_lost_before_the_archive_is_reported_in_the_log(tmp_path: Path, jenkins: Jenkins):
    async with running_shuttle(tmp_path, jenkins.url, **NOBODY) as shuttle:
        agent = await claimed(shuttle)
        objects = shuttle.data / "objects"
        kept = objects.rename(objects.with_name("kept"))
        objects.write_text("no directory")
        await agent.end(0, b"one\ntwo\n")
        before = await shuttle.until(PATH, "succeeded")
    shutil.rmtree(shuttle.data / "spool")
    objects.unlink()
    kept.rename(objects)
    async with running_shuttle(tmp_path, jenkins.url, PORT=str(shuttle.port), **NOBODY) as shuttle:
        await shuttle.until_settled(before["build_uuid"])
        after, log = await shuttle.build(PATH), await shuttle.whole_log(PATH)
    assert log.splitlines()[-1] == b"-----> A part of this log was lost with the shuttle's disk."
    assert b"two" not in log
    assert after["log"] == {"bytes": len(log), "sha256": hashlib.sha256(log).hexdigest(), "complete": True}
