"""The processes that stop, term, kill and the end of a node signal, and how long Jenkins waits for them."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from jenkins_emulator.clock import ManualClock
from tests.unit.jenkins_emulator.conftest import Start
from tests.unit.jenkins_emulator.emulator_caller import Caller, ignoring_term, until


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def caller(start: Start, session: aiohttp.ClientSession, clock: ManualClock) -> Caller:
    return Caller(session, (await start(clock=clock, executors=1)).url)


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Path]:
    """A file; scripts that ignore TERM end once it exists. It is created at the end of the test at the latest."""
    gate = tmp_path / "gate"
    yield gate
    gate.touch()


@pytest.fixture
async def written(tmp_path: Path) -> AsyncIterator[Callable[[str], int]]:
    """Reads a pid that a script wrote to a file; processes that still run are killed after the test."""
    pids: list[int] = []

    def read(name: str) -> int:
        pids.append(int((tmp_path / name).read_text()))
        return pids[-1]

    yield read
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


NAMES = ("with-cookie", "without-cookie", "child")


def runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pid: int) -> bool:
    return not runs(pid)


async def says(caller: Caller, text: str, count: int) -> bool:
    return (await caller.console("j")).count(text) == count


def quoted(script: str) -> str:
    return f"steps:sh '''#!/bin/sh\n{script}'''"


async def test_stop_signals_the_script_its_descendants_and_processes_with_its_cookie(
    caller: Caller, tmp_path: Path, written: Callable[[str], int]
) -> None:
    def sleeper(name: str, how: str) -> str:
        return f"{how} sh -c 'echo $$ > {tmp_path}/{name}; exec sleep 60'"

    # The first two are re-parented, as their shells end at once; one of them kept Jenkins' variables.
    script = "\n".join(
        (
            f"( {sleeper('with-cookie', 'setsid')} & )",
            f"( {sleeper('without-cookie', 'env -i /usr/bin/setsid')} & )",
            f"{sleeper('child', 'env -i /usr/bin/setsid')} &",
            *(f"while [ ! -s {tmp_path}/{name} ]; do sleep 0.01; done" for name in NAMES),
            "echo ready; wait",
        )
    )
    await caller.create("j", quoted(script))
    await caller.trigger("j")
    await caller.shows("ready\n", "j")
    await caller.post("/job/j/1/stop")
    assert await caller.ended("j") == "ABORTED"
    for name in ("child", "with-cookie"):
        await until(partial(gone, written(name)))
    assert runs(written("without-cookie")), "a process without a cookie that is no descendant gets nothing"


async def test_orphan_without_a_cookie_is_neither_awaited_nor_ended(
    caller: Caller, tmp_path: Path, written: Callable[[str], int]
) -> None:
    orphan = f"( env -i /usr/bin/setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 60' & )"
    await caller.create("j", quoted(f"{orphan}\nwhile [ ! -s {tmp_path}/pid ]; do sleep 0.01; done"))
    await caller.trigger("j")
    assert await caller.ended("j") == "SUCCESS"
    assert runs(written("pid"))


async def test_end_of_the_node_sends_term_to_processes_with_its_cookie(
    caller: Caller, tmp_path: Path, written: Callable[[str], int]
) -> None:
    orphan = f"( setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 60' & )"
    await caller.create("j", quoted(f"{orphan}\nwhile [ ! -s {tmp_path}/pid ]; do sleep 0.01; done"))
    await caller.trigger("j")
    assert await caller.ended("j") == "SUCCESS"
    await until(partial(gone, written("pid")))


async def test_trap_of_the_script_runs_before_its_build_ends(caller: Caller) -> None:
    await caller.create(
        "j", quoted("trap 'echo cleaning; sleep 0.2; echo cleaned; exit 0' TERM\necho up\nwhile :; do sleep 0.05; done")
    )
    await caller.trigger("j")
    await caller.shows("up\n", "j")
    await caller.post("/job/j/1/stop")
    assert await caller.ended("j") == "ABORTED"
    assert "cleaning\ncleaned\n" in await caller.console("j")


async def test_build_ends_without_its_process_twenty_seconds_after_a_stop(
    caller: Caller, clock: ManualClock, gate: Path
) -> None:
    await caller.create("j", f"steps:{ignoring_term(gate)}")
    await caller.trigger("j")
    await caller.shows("ignoring_term\n", "j")
    for count in (1, 2):
        await caller.post("/job/j/1/stop")
        await until(partial(says, caller, "Sending interrupt signal", count))
    clock.advance(19)
    assert (await caller.build("j"))["building"]
    clock.advance(1)
    assert await caller.ended("j") == "ABORTED"
    assert "After 20s process did not stop\n" in await caller.console("j")


async def test_term_ends_the_build_while_its_process_continues(
    caller: Caller, tmp_path: Path, written: Callable[[str], int]
) -> None:
    await caller.create("j", quoted(f"trap : TERM; echo $$ > {tmp_path}/pid; echo up; while :; do sleep 0.05; done"))
    await caller.trigger("j")
    await caller.shows("up\n", "j")
    assert (await caller.post("/job/j/1/term")).status == 302
    assert await caller.ended("j") == "ABORTED"
    assert "Terminating sh\n" in await caller.console("j")
    assert runs(written("pid")), "nothing sends KILL"


async def test_kill_sends_no_signal_and_leaves_the_executor_occupied(
    caller: Caller, tmp_path: Path, written: Callable[[str], int]
) -> None:
    await caller.create("j", quoted(f"echo $$ > {tmp_path}/pid; echo up; sleep 60"))
    await caller.create("next", "steps:echo 'x'")
    await caller.trigger("j")
    await caller.shows("up\n", "j")
    assert (await caller.post("/job/j/1/kill")).status == 302
    assert await caller.ended("j") == "ABORTED"
    assert (await caller.console("j")).endswith("up\nHard kill!\nFinished: ABORTED\n")
    assert runs(written("pid"))

    await caller.trigger("next")
    await caller.shows("[Pipeline] node\n", "next")
    [waiting] = (await caller.get("/queue/api/json")).json["items"]
    assert waiting["why"] == "Waiting for next available executor on \u2018Built-In Node\u2019"
    assert (await caller.post("/computer/(built-in)/executors/0/stop")).status == 302
    assert await caller.ended("next") == "SUCCESS"


async def test_stop_of_a_busy_executor_stops_its_build(caller: Caller) -> None:
    await caller.create("j", quoted("echo up; sleep 60"))
    await caller.trigger("j")
    await caller.shows("up\n", "j")
    assert (await caller.post("/computer/(built-in)/executors/0/stop")).status == 302
    assert await caller.ended("j") == "ABORTED"
    assert (await caller.post("/computer/(built-in)/executors/9/stop")).status == 404


async def test_job_whose_build_ignores_term_is_not_deleted(caller: Caller, clock: ManualClock, gate: Path) -> None:
    await caller.create("j", f"steps:{ignoring_term(gate)}")
    await caller.trigger("j")
    await caller.shows("ignoring_term\n", "j")
    deleting = asyncio.ensure_future(caller.post("/job/j/doDelete"))
    await caller.shows("Sending interrupt signal", "j")
    clock.advance(15)
    assert (await deleting).status == 500
    assert (await caller.build("j"))["building"]
    clock.advance(5)
    assert await caller.ended("j") == "ABORTED"
    assert (await caller.request("DELETE", "/job/j/")).status == 204


async def test_step_can_read_the_environment_of_the_step_before_it(caller: Caller) -> None:
    """Any process of the same user can read a token of an earlier step for up to three seconds."""
    # Identified by their programs: the surviving process is the wrapper of the step before.
    look = (
        "sh '''#!/bin/sh\nfor file in $(grep -lszxF MARK_TOKEN=of-this-build /proc/[0-9]*/environ); do\n"
        "echo found $(cat ${file%environ}comm)\ndone'''"
    )
    await caller.create("j", f"steps:sh 'true'\nwithEnv(['MARK_TOKEN=']) {{\n{look}\n}}", parameters=("MARK_TOKEN",))
    await caller.trigger("j", MARK_TOKEN="of-this-build")
    assert await caller.ended("j") == "SUCCESS"
    assert "found sleep\n" in await caller.console("j")


async def test_processes_have_the_cookies_of_their_step_and_node(caller: Caller) -> None:
    show = "sh '''#!/bin/sh\necho cookies $JENKINS_SERVER_COOKIE $JENKINS_NODE_COOKIE on $EXECUTOR_NUMBER'''"
    await caller.create("j", f"steps:{show}\n{show}")
    await caller.trigger("j")
    assert await caller.ended("j") == "SUCCESS"
    shown = [line.split() for line in (await caller.console("j")).splitlines() if line.startswith("cookies ")]
    assert [len(words) for words in shown] == [5, 5]
    assert shown[0][1] != shown[1][1], "each step has its own"
    assert shown[0][2:] == shown[1][2:], "the node is the same"
