"""Faults that a test can cause: ghosts, lost agents, a slow start; and the phases of every start."""

import asyncio
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from jenkins_emulator import EmulatedJenkins
from jenkins_emulator.clock import ManualClock
from jenkins_emulator.startup import Phase
from tests.unit.jenkins_emulator.conftest import Start
from tests.unit.jenkins_emulator.emulator_caller import Caller, until

WAITS = "steps:sh '''#!/bin/sh\necho up; while [ ! -e {gate} ]; do sleep 0.01; done; echo through >> {marks}'''"


async def test_ghost_builds_for_ever_and_cannot_be_ended(
    start: Start, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    jenkins = await start()
    caller = Caller(session, jenkins.url)
    await caller.create("j", "steps:echo 'x'", parameters=("N",))
    jenkins.faults.make_ghost("j")
    item = await caller.trigger("j", N="1")
    await until(partial(has_build, caller, item))
    for how in ("stop", "term", "kill"):
        assert (await caller.post(f"/job/j/1/{how}")).status == 302
    await jenkins.close()
    caller = Caller(session, (await start()).url)
    tree = "building,executor[idle],inProgress,duration,result"
    shown = (await caller.get(f"/job/j/1/api/json?tree={tree}")).json
    del shown["_class"]
    assert shown == {"building": True, "executor": None, "inProgress": False, "duration": 0, "result": None}
    await caller.trigger("j", N="2")
    assert await caller.ended("j", 2) == "SUCCESS", "only one build becomes a ghost"
    assert (await caller.post("/job/j/doDelete")).status == 302


async def has_build(caller: Caller, item: int) -> bool:
    return (await caller.item(item)).get("executable") is not None


async def test_build_with_lost_agent_is_aborted_while_its_process_continues(
    start: Start, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    clock, gate, marks = ManualClock(), tmp_path / "gate", tmp_path / "marks"
    jenkins = await start(clock=clock)
    caller = Caller(session, jenkins.url)
    await caller.create("j", WAITS.format(gate=gate, marks=marks))
    await caller.trigger("j")
    await caller.shows("up\n", "j")
    jenkins.faults.lose_agent("j", 1, seconds=300)
    await caller.shows("ag1 seems to be removed or offline; will wait for 5 min 0 sec", "j")
    assert (await caller.post("/job/j/1/stop")).status == 302
    clock.advance(299)
    assert (await caller.build("j"))["building"]
    clock.advance(1)
    assert await caller.ended("j") == "ABORTED"
    assert "removed or offline for 5 min 0 sec; assuming it is not coming back\n" in await caller.console("j")
    assert not marks.exists()
    gate.touch()
    await until(partial(is_there, marks))


async def is_there(path: Path) -> bool:
    return path.exists()


async def test_starting_jenkins_is_silent_then_unavailable_then_ready(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    jenkins = EmulatedJenkins(tmp_path / "home", user="u", token="t")
    await jenkins.start()
    caller = Caller(session, jenkins.url, "u", "t")
    await jenkins.close()
    with pytest.raises(aiohttp.ClientConnectorError):
        await caller.get("/api/json")
    await jenkins.listen(Phase.SILENT)
    held = asyncio.ensure_future(caller.get("/api/json"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(held), 0.05)
    jenkins.startup.enter(Phase.STARTING)
    assert (await held).status == 503
    posted = await caller.post("/job/j/1/stop")
    assert (posted.status, posted.headers.get("X-Jenkins")) == (503, "2.568.1")
    jenkins.startup.enter(Phase.DENYING)
    assert (await caller.get("/api/json")).status == 401
    jenkins.startup.enter(Phase.STARTING)
    assert (await caller.get("/api/json")).status == 503
    jenkins.load()
    assert (await caller.get("/api/json")).status == 200
    await jenkins.close()


async def test_silent_jenkins_closes_its_connections_when_it_ends(
    tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    jenkins = EmulatedJenkins(tmp_path / "home", user="u", token="t")
    await jenkins.listen(Phase.SILENT)
    held = asyncio.ensure_future(Caller(session, jenkins.url, "u", "t").get("/api/json"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(held), 0.05)
    await jenkins.close()
    with pytest.raises(aiohttp.ClientError):
        await held


async def test_last_log_line_comes_after_the_result(start: Start, session: aiohttp.ClientSession) -> None:
    jenkins = await start()
    caller = Caller(session, jenkins.url)
    await caller.create("j", "steps:echo 'x'")
    item = await caller.trigger("j")
    await until(partial(has_build, caller, item))
    await until(partial(is_over, caller))
    early = await caller.get("/job/j/1/logText/progressiveText")
    assert "Finished: " not in early.text
    assert "X-More-Data" in early.headers
    await jenkins.close()
    caller = Caller(session, (await start()).url)
    assert (await caller.console("j")).endswith("Finished: SUCCESS\n"), "also when the server ends in between"


async def is_over(caller: Caller) -> bool:
    return not (await caller.build("j"))["building"]
