"""Supervisors push a log: offsets, ends, stops, limits, and what readers see afterwards."""

import asyncio
import hashlib
import io
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from shuttle.lifecycle.agent_calls import SHORTEST_PAUSE_SECONDS
from shuttle.logs import raw_streams
from tests.contract.agent_caller import Agent, agent_of
from tests.support.inprocess import Jenkins, Shuttle, running_shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUSH_BYTES = 4 * 1024 * 1024


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shuttle(tmp_path_factory: pytest.TempPathFactory, jenkins: Jenkins) -> AsyncIterator[Shuttle]:
    """A shuttle whose builds wait for an agent that does not exist; the tests make the agent's calls."""
    folder = tmp_path_factory.mktemp("push")
    settings = {"MAXIMUM_PARALLEL_BUILDS": "100", "SHUTTLE_JENKINS_AGENT_LABEL": "nowhere"}
    async with running_shuttle(folder, jenkins.url, SHUTTLE_MAX_LOG_BYTES=str(9 * 1024**2), **settings) as running:
        yield running


async def begun(shuttle: Shuttle, app: str, **fields: Any) -> Agent:
    """The agent of a new build whose users' code has begun."""
    path = f"/{app}/1"
    await shuttle.submit(path, **fields)
    await shuttle.until(path, "queued")
    return await (await agent_of(shuttle, path)).begun()


async def log_of(agent: Agent) -> bytes:
    """A finished log without the two lines of the preamble."""
    await agent.shuttle.until(agent.path)
    lines = (await agent.shuttle.whole_log(agent.path)).split(b"\n", 2)
    return lines[2]


async def shown(agent: Agent, text: bytes) -> None:
    """Wait until the log ends with `text`."""
    shown = b""
    try:
        async with asyncio.timeout(10):
            while not shown.endswith(text):
                await asyncio.sleep(0.02)
                shown = (await agent.shuttle.get(f"{agent.path}/logs")).body
    except TimeoutError:
        raise AssertionError(f"the log ends with {shown[-1000:]!r}") from None


async def test_bytes_pushed_one_by_one_are_recorded_and_the_exit_status_decides(shuttle: Shuttle, app: str):
    agent = await begun(shuttle, app)
    raw = b"one\r\ntwo\x00\xff\rbar\n" + "žluť 🚀".encode()
    for at in range(len(raw)):
        answer = await agent.push(raw[at : at + 1])
        assert (answer.status, answer.headers["Shuttle-Log-Offset"]) == (200, str(at + 1))
    assert (await agent.end(7)).status == 200
    assert await log_of(agent) == "one\ntwo\x00\N{REPLACEMENT CHARACTER}\rbar\nžluť 🚀".encode()
    build = await shuttle.build(agent.path)
    assert (build["state"], build["reason"]) == ("failed", "build_failed")


async def test_repeated_bytes_are_dropped_and_a_gap_is_refused(shuttle: Shuttle, app: str):
    agent = await begun(shuttle, app)
    await agent.push(b"0123456789\n")
    again = await agent.push(b"456789\nmore\n", offset=4)
    assert (again.status, again.headers["Shuttle-Log-Offset"]) == (200, "16")
    gap = await agent.push(b"x", offset=17)
    assert (gap.status, gap.json["code"], gap.headers["Shuttle-Log-Offset"]) == (409, "conflict", "16")
    for elsewhere in (0, 15, 17):
        end = await agent.ask("POST", f"log?stream=main&offset={elsewhere}&end=1&exit=0")
        assert (end.status, end.headers["Shuttle-Log-Offset"]) == (409, "16")
    await agent.end()
    assert await log_of(agent) == b"0123456789\nmore\n"


async def test_end_is_idempotent_and_later_bytes_are_dropped(shuttle: Shuttle, app: str):
    agent = await begun(shuttle, app)
    for _ in range(2):
        assert (await agent.push(b"all\n", offset=0, end=1, exit=0)).status == 200
    assert (await agent.push(b"late\n")).status == 200
    assert await log_of(agent) == b"all\n"
    assert (await shuttle.build(agent.path))["state"] == "succeeded"


async def test_unfinished_line_is_shown_up_to_a_possible_secret(shuttle: Shuttle, app: str):
    agent = await begun(shuttle, app, arguments={"S": "secret-value"}, secret_arguments=["S"])
    await agent.push(b"...secret-val")
    await shown(agent, b"\n...")
    await agent.push(b"ue.secret-va\n")
    await shown(agent, b"\n...[secret].secret-va\n")
    await agent.end()


async def test_last_line_of_a_voided_attempt_precedes_the_next_attempts_log(shuttle: Shuttle, app: str):
    path = f"/{app}/1"
    await shuttle.submit(path, arguments={"S": "secret-value"}, secret_arguments=["S"])
    await shuttle.until(path, "queued")
    first = await agent_of(shuttle, path)
    await first.claim()
    await first.push(b"old secret-va")
    second = await (await agent_of(shuttle, path)).begun(nonce="another-nonce-0001")
    await second.push(b"lue new\n")
    await shown(second, b"old secret-va\nlue new\n")
    await second.end()


async def test_streams_and_attempts_do_not_share_lines(shuttle: Shuttle, app: str):
    path = f"/{app}/1"
    await shuttle.submit(path)
    await shuttle.until(path, "queued")
    first = await agent_of(shuttle, path)
    await first.claim()
    await first.push(b"of the first attempt")
    second = await agent_of(shuttle, path)
    await second.claim(nonce="another-nonce-0001")
    assert (await first.push(b" and more\n")).status == 410
    await second.ask("POST", "begin")
    left, right = (Agent(shuttle, path, second.uuid, second.token) for _ in range(2))
    await left.claim(branch="left")
    await right.claim(branch="right")
    await second.push(b"main ")
    await shown(second, b"main ")
    await left.push(b"l1\nl")
    await right.push(b"r1\n")
    await second.push(b"more\n")
    await left.end(0, b"2\n")
    await right.end(0)
    assert (await shuttle.build(path))["state"] == "running"
    await second.end()
    await shown(second, b"first attempt\nmain \n[left] l1\n[right] r1\nmore\n[left] l2\n")
    await shuttle.delete(path)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("offset=0", "stream"),
        ("stream=Main&offset=0", "stream"),
        ("stream=a/b&offset=0", "stream"),
        ("stream=" + "x" * 65 + "&offset=0", "stream"),
        ("stream=main", "offset"),
        ("stream=main&offset=-1", "offset"),
        ("stream=main&offset=1e3", "offset"),
        ("stream=main&offset=" + "9" * 30, "offset"),
        ("stream=main&offset=0&end=2", "end"),
        ("stream=main&offset=0&end=1&exit=256", "exit"),
        ("stream=main&offset=0&end=1&exit=-1", "exit"),
        ("stream=main&offset=0&exit=0", "exit"),
    ],
)
async def test_malformed_push_is_refused(shuttle: Shuttle, app: str, query: str, field: str):
    agent = await begun(shuttle, app)
    answer = await agent.ask("POST", f"log?{query}", data=b"x")
    assert (answer.status, answer.json["field"]) == (400, field)
    await agent.end()
    assert await log_of(agent) == b""


async def test_too_large_push_is_refused_and_a_log_above_its_cap_is_cut(shuttle: Shuttle, app: str):
    agent = await begun(shuttle, app)
    whole = b"".join(b"%07d\n" % number for number in range(PUSH_BYTES // 8))
    for pushed in range(1, 4):
        answer = await agent.push(io.BytesIO(whole))
        assert (answer.status, answer.headers["Shuttle-Log-Offset"]) == (200, str(pushed * PUSH_BYTES))
    assert (await agent.push(io.BytesIO(whole + b"x"))).status == 413
    await agent.end()
    log = await log_of(agent)
    assert log.startswith(whole * 2)
    assert log.endswith(b"-----> The log ends here: it has reached SHUTTLE_MAX_LOG_BYTES. The build continues.\n")
    assert (await shuttle.build(agent.path))["state"] == "succeeded"


async def test_push_of_a_backlog_is_answered_with_a_shorter_pause(shuttle: Shuttle, app: str):
    agent = await begun(shuttle, app)
    assert float((await agent.push(b"a line\n")).headers["Shuttle-Log-Pause"]) >= SHORTEST_PAUSE_SECONDS
    assert float((await agent.push(io.BytesIO(b"x" * 1024**2))).headers["Shuttle-Log-Pause"]) < SHORTEST_PAUSE_SECONDS
    assert (await agent.push(b"")).headers["Shuttle-Log-Idle"] == "30"
    await agent.end()


async def test_number_of_streams_is_limited(shuttle: Shuttle, app: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(raw_streams, "MAX_STREAMS", 2)
    agent = await begun(shuttle, app)
    answers = [await agent.push(b"x\n", stream=name, offset=0) for name in ("main", "two", "three")]
    assert [answer.status for answer in answers] == [200, 200, 409]
    assert "Shuttle-Log-Offset" not in answers[-1].headers
    assert (await agent.end(0, b"last\n")).status == 200
    assert await log_of(agent) == b"x\nx\nlast\n"


async def test_concurrent_pushes_of_the_same_bytes_count_once(shuttle: Shuttle, app: str):
    """A supervisor repeats a push that timed out while the shuttle still reads the first one."""
    agent = await begun(shuttle, app)
    raw = b"".join(b"%d\n" % number for number in range(400_000))
    await asyncio.gather(*(agent.push(io.BytesIO(raw), offset=0) for _ in range(4)))
    await agent.end()
    assert await log_of(agent) == raw


async def test_interrupted_push_can_be_repeated_from_its_start(shuttle: Shuttle, app: str):
    agent = await begun(shuttle, app)
    raw = os.urandom(50_000).hex().encode() + b"\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", shuttle.port)
    head = f"POST /-/builds/{agent.uuid}/log?stream=main&offset=0 HTTP/1.1\r\nHost: x\r\n"
    head += f"Authorization: Bearer {agent.run_token}\r\nContent-Length: {len(raw)}\r\n\r\n"
    writer.write(head.encode() + raw[:70_000])
    writer.write_eof()
    await reader.read()
    writer.close()
    # What arrived is less than the block that is taken at once, so nothing of it counts.
    empty_push = await agent.push(b"", offset=0)
    assert (empty_push.status, empty_push.headers["Shuttle-Log-Offset"]) == (200, "0")
    again = await agent.push(raw, offset=0)
    assert (again.status, again.headers["Shuttle-Log-Offset"]) == (200, str(len(raw)))
    await agent.end()
    assert await log_of(agent) == raw


async def test_stop_is_sent_with_the_next_push_and_is_final_at_the_supervisors_end(shuttle: Shuttle, app: str):
    agent = await begun(shuttle, app)
    assert "Shuttle-Stop" not in (await agent.push(b"a\n")).headers
    await shuttle.delete(agent.path)
    async with asyncio.timeout(5):
        while (answer := await agent.push(b"")).headers.get("Shuttle-Stop") != "stopped":
            await asyncio.sleep(0.02)
    assert answer.headers["Shuttle-Log-Idle"] == "5"
    assert (await shuttle.build(agent.path))["state"] == "running"
    await agent.end(143, b"terminated\n")
    build = await shuttle.until(agent.path)
    assert (build["state"], build["reason"]) == ("stopped", "stopped")
    assert await log_of(agent) == b"a\nterminated\n-----> The build was stopped on request.\n"


async def test_exit_0_after_a_recorded_stop_is_a_success(shuttle: Shuttle, app: str):
    agent = await begun(shuttle, app)
    await shuttle.delete(agent.path)
    await agent.end(0)
    assert (await shuttle.until(agent.path))["state"] == "succeeded"


async def test_time_limit_stops_the_build(shuttle: Shuttle, app: str):
    agent = await begun(shuttle, app, timeout_seconds=1)
    async with asyncio.timeout(5):
        while (await agent.push(b"")).headers.get("Shuttle-Stop") != "timeout":
            await asyncio.sleep(0.02)
    await agent.end(143)
    assert (await shuttle.until(agent.path))["state"] == "timedout"


async def test_recorded_size_and_checksum_match_the_whole_log(shuttle: Shuttle, app: str):
    agent = await begun(shuttle, app)
    await agent.end(1, b"the last line")
    build = await shuttle.until(agent.path)
    log = await shuttle.whole_log(agent.path)
    assert (build["log"]["bytes"], build["log"]["sha256"]) == (len(log), hashlib.sha256(log).hexdigest())
