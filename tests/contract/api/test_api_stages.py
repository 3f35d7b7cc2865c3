"""The stages of a build, and the part of the log that belongs to each of them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from shuttle.store.request_time import is_limited
from shuttle.web.stages import StageReader
from tests.contract.agent_caller import Agent, agent_of
from tests.support.inprocess import Jenkins, Shuttle, running_shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shuttle(tmp_path_factory: pytest.TempPathFactory, jenkins: Jenkins) -> AsyncIterator[Shuttle]:
    """A shuttle whose builds wait for an agent that does not exist; the tests make the agent's calls."""
    settings = {"MAXIMUM_PARALLEL_BUILDS": "100", "SHUTTLE_JENKINS_AGENT_LABEL": "nowhere"}
    async with running_shuttle(tmp_path_factory.mktemp("stages"), jenkins.url, **settings) as running:
        yield running


async def waiting_agent(shuttle: Shuttle, path: str) -> Agent:
    await shuttle.submit(path)
    await shuttle.until(path, "queued")
    return await agent_of(shuttle, path)


async def report(agent: Agent, stage: str, event: str, offset: int | None, **fields: Any) -> None:
    body = {"id": f"{stage}.{event}", "stage": stage, "event": event} | fields
    answer = await agent.ask("POST", "progress", json=body | ({} if offset is None else {"offset": offset}))
    assert answer.status == 200, answer.body


async def part(agent: Agent, query: str) -> tuple[int, str, bytes]:
    """Offset, completeness and bytes of a part of the log."""
    answer = await agent.shuttle.get(f"{agent.path}/logs?{query}")
    assert answer.status == 200, answer.body
    return int(answer.headers["Shuttle-Log-Offset"]), answer.headers["Shuttle-Log-Complete"], answer.body


async def stages(agent: Agent) -> dict[str, dict[str, Any]]:
    answer = await agent.shuttle.get(f"{agent.path}/stages")
    # An error, such as the 503 of a database that is slow for a moment, has no `stages`.
    assert answer.status == 200, answer.text
    found = answer.json["stages"]
    return {stage["stage"]: stage for stage in found}


async def two_stages(agent: Agent) -> None:
    """The calls of a supervisor whose first stage prints nothing, and whose last one is not ended."""
    await report(agent, "fetch", "begin", 0, state=10)
    await report(agent, "fetch", "end", 0, code=0, status="succeeded")
    await report(agent, "build", "begin", 0, state=20)
    await agent.push(b"one\r\ntwo")
    await report(agent, "build", "end", 8, code=0, status="succeeded")
    await report(agent, "artifacts", "begin", 8, state=95)
    await agent.push(b"\nthree\n")


async def test_stages_have_states_and_parts_of_the_log(shuttle: Shuttle, app: str):
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()
    await two_stages(agent)
    await agent.end(1)
    await shuttle.until(agent.path)
    found = await stages(agent)
    assert {name: stage["state"] for name, stage in found.items()} == {
        "claim": 5,
        "fetch": 10,
        "build": 20,
        "artifacts": 95,
    }
    whole = await shuttle.whole_log(agent.path)
    begin = whole.index(b"one\n")
    places = {name: stage["log"] for name, stage in found.items()}
    assert places == {
        "claim": None,
        "fetch": {"start": begin, "stop": begin},
        "build": {"start": begin, "stop": begin + 8},
        "artifacts": {"start": begin + 8, "stop": begin + 14},
    }
    ended = (await shuttle.build(agent.path))["timestamps"]["finished_at"]
    assert (found["build"]["status"], found["build"]["code"]) == ("succeeded", 0)
    assert (found["artifacts"]["status"], found["artifacts"]["ended_at"]) == ("failed", ended)
    assert await part(agent, "stage=fetch") == (begin, "true", b"")
    assert await part(agent, "stage=build") == (begin, "true", b"one\ntwo\n")
    assert await part(agent, "stage=artifacts&follow=true") == (begin + 8, "true", b"three\n")


@pytest.mark.parametrize(
    ("ahead", "expected"),
    [
        (-5, (0, b"one\ntwo\n")),
        (0, (0, b"one\ntwo\n")),
        (3, (3, b"\ntwo\n")),
        (8, (8, b"")),
    ],
)
async def test_offset_counts_in_the_whole_log(shuttle: Shuttle, app: str, ahead: int, expected: tuple[int, bytes]):
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()
    await two_stages(agent)
    begin = (await stages(agent))["build"]["log"]["start"]
    offset, complete, text = await part(agent, f"stage=build&offset={begin + ahead}")
    assert (offset - begin, text, complete) == (*expected, "true")
    beyond = await shuttle.get(f"{agent.path}/logs?stage=build&offset={begin + 9}")
    assert (beyond.status, beyond.json["field"]) == (416, "offset")
    ranged = await shuttle.get(f"{agent.path}/logs?stage=build", headers={"Range": "bytes=0-1"})
    assert (ranged.status, ranged.body) == (200, b"one\ntwo\n")


async def test_followed_stage_ends_with_the_stage(shuttle: Shuttle, app: str):
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()
    await report(agent, "build", "begin", 0)
    following = asyncio.create_task(part(agent, "stage=build&follow=true"))
    await agent.push(b"one\n")
    await report(agent, "build", "end", 4)
    offset, complete, text = await following
    assert (complete, text) == ("false", b"one\n")
    assert offset == (await stages(agent))["build"]["log"]["start"]
    assert not (await shuttle.build(agent.path))["log"]["complete"]


async def test_the_wait_for_the_first_byte_of_a_stage_is_no_part_of_the_time_of_a_request(
    shuttle: Shuttle, app: str, monkeypatch: pytest.MonkeyPatch
):
    """Before, a reader of a silent stage got a 503 after some minutes: the database had been read for 2.5 s in all."""
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()
    await report(agent, "build", "begin", 0)
    begun, limited = StageReader.begun, asyncio.Queue[bool]()

    async def recorded(stage: StageReader) -> None:
        limited.put_nowait(is_limited())
        await begun(stage)

    monkeypatch.setattr(StageReader, "begun", recorded)
    following = asyncio.create_task(part(agent, "stage=build&follow=true"))
    assert await limited.get() is False
    await agent.push(b"one\n")
    await report(agent, "build", "end", 4)
    assert (await following)[2] == b"one\n"


async def test_stage_of_a_running_build_is_read_as_far_as_it_has_come(shuttle: Shuttle, app: str):
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()
    await report(agent, "build", "begin", 0)
    assert (await part(agent, "stage=build"))[1:] == ("false", b"")
    assert (await stages(agent))["build"]["log"] == {"start": None, "stop": None}
    before = (await shuttle.build(agent.path))["log"]["bytes"]
    await agent.push(b"one\n")
    await shuttle.until_shown(agent.path, lambda build: build["log"]["bytes"] > before)
    assert (await part(agent, "stage=build"))[1:] == ("false", b"one\n")


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("stage=nothing", 404, "stage"),
        ("stage=old", 404, "stage"),
        ("branch=linux", 400, "stage"),
        ("stage=build", 404, "branch"),
        ("stage=build&branch=mac", 404, "branch"),
        ("stage=build&branch=linux&offset=x", 400, "offset"),
    ],
)
async def test_part_that_does_not_exist_is_refused(shuttle: Shuttle, app: str, query: str, status: int, field: str):
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()
    await report(agent, "old", "begin", None)
    branch = Agent(shuttle, agent.path, agent.uuid, agent.token)
    await branch.begun(branch="linux")
    await report(branch, "build", "begin", 0)
    answer = await shuttle.get(f"{agent.path}/logs?{query}")
    assert (answer.status, answer.json["field"]) == (status, field)


async def test_branch_of_a_stage_that_only_the_main_part_has_is_refused(shuttle: Shuttle, app: str):
    """Before, the sentence asked for one of no branches."""
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()
    await report(agent, "build", "begin", 0)
    answer = await shuttle.get(f"{agent.path}/logs?stage=build&branch=linux")
    assert (answer.status, answer.json["message"]) == (404, "Leave out branch: the stage has none.")


async def test_stages_of_branches_have_parts_of_their_own(shuttle: Shuttle, app: str):
    agent = await waiting_agent(shuttle, f"/{app}/1")
    linux, mac = (Agent(shuttle, agent.path, agent.uuid, agent.token) for _ in range(2))
    for branch, name in ((linux, "linux"), (mac, "mac")):
        assert (await branch.claim(branch=name)).status == 200
        assert (await branch.ask("POST", "begin")).status == 200
        body = {"id": f"{name}.build.begin", "stage": "build", "event": "begin", "offset": 0, "state": 20}
        assert (await branch.ask("POST", "progress", json=body)).status == 200
    await linux.push(b"l1\n", stream="linux")
    await mac.push(b"m1\n", stream="mac")
    body = {"id": "mac.build.end", "stage": "build", "event": "end", "offset": 3, "status": "succeeded"}
    assert (await mac.ask("POST", "progress", json=body)).status == 200
    await linux.push(b"l2\n", stream="linux")
    await linux.push(b"", stream="linux", end=1, exit=0)
    assert (await part(linux, "stage=build&branch=mac&follow=1"))[2] == b"[mac] m1\n"
    assert (await part(linux, "stage=build&branch=linux&follow=1"))[2] == b"[linux] l1\n[mac] m1\n[linux] l2\n"


async def test_stage_that_was_reported_too_late_has_no_part_of_the_log(shuttle: Shuttle, app: str):
    agent = await (await waiting_agent(shuttle, f"/{app}/1")).begun()
    await agent.push(b"one\ntwo\n")
    await report(agent, "build", "begin", 4)
    following = asyncio.create_task(shuttle.get(f"{agent.path}/logs?stage=build&follow=true"))
    await agent.end()
    for answer in (await following, await shuttle.get(f"{agent.path}/logs?stage=build")):
        assert (answer.status, answer.json["field"]) == (404, "stage")
    assert (await stages(agent))["build"]["log"] is None


@pytest.mark.slow
@pytest.mark.parametrize("lost", [False, True], ids=["the spool is there", "the spool is lost"])
async def test_stages_have_the_same_parts_after_a_restart(tmp_path: Path, jenkins: Jenkins, app: str, lost: bool):
    """The last stage was reported before the restart, and its bytes come after it."""
    settings = {"SHUTTLE_JENKINS_AGENT_LABEL": "nowhere"}
    async with running_shuttle(tmp_path, jenkins.url, **settings) as first:
        agent = await (await waiting_agent(first, f"/{app}/1")).begun()
        await report(agent, "build", "begin", 0)
        await agent.push(b"one\ntwo")
        await first.until_shown(agent.path, lambda build: build["log"]["bytes"] > 0)
        await report(agent, "build", "end", 7)
        await report(agent, "artifacts", "begin", 7)
        before = (await stages(agent))["build"]["log"]
    if lost:
        (first.data / "spool" / f"{agent.uuid}.log").unlink()
    async with running_shuttle(tmp_path, jenkins.url, **settings) as second:
        agent = replace(agent, shuttle=second, offsets={})
        await agent.push(b"one\ntwo\nthree\n")
        await agent.end()
        await second.until(agent.path)
        after = (await stages(agent))["build"]["log"]
        assert before in ({"start": after["start"], "stop": None}, {"start": None, "stop": None})
        assert (await part(agent, "stage=build"))[2] == b"one\ntwo\n"
        assert (await part(agent, "stage=artifacts"))[2] == b"three\n"


async def test_stages_of_an_unknown_build_are_not_found(shuttle: Shuttle):
    assert (await shuttle.get("/nobody/1/stages")).status == 404
