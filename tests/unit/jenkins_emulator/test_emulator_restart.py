"""A running build survives a restart of Jenkins: no step runs twice, no line is lost, log offsets stay valid."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.unit.jenkins_emulator.conftest import Start
from tests.unit.jenkins_emulator.emulator_caller import Caller, ignoring_term, until

SERIAL = "<org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty/>"
LOG = "/job/j/1/logText/progressiveText"


class Server:
    """The emulated Jenkins in its own process, always with the same port and home."""

    def __init__(self, home: Path, generation: str) -> None:
        self.home = home
        self.generation = generation
        self.port = 0
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        program = Path(__file__).with_name("jenkins_process.py")
        root = Path(__file__).parents[3]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, str(program), str(self.home), str(self.port), self.generation,
            stdout=asyncio.subprocess.PIPE, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(root)},
        )  # fmt: skip
        assert self.process.stdout is not None
        line = (await self.process.stdout.readline()).decode()
        assert "for demos and tests only" in line
        self.port = int(line.rsplit(":", 1)[1])

    async def end(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        await self.process.communicate()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    # The generation whose log can be followed by offsets.
    server = Server(tmp_path / "home", "2.263")
    await server.start()
    yield server
    assert server.process is not None
    if server.process.returncode is None:
        await server.end(signal.SIGKILL)


@pytest.fixture
def caller(server: Server, session: aiohttp.ClientSession) -> Caller:
    return Caller(session, f"http://127.0.0.1:{server.port}")


def gated(gate: Path, marks: Path) -> str:
    """A script that marks its start in a file, then waits until the test opens the gate."""
    marks = marks.with_name(f"{marks.name}$BUILD_NUMBER")
    wait = f"while ! test -e {gate}; do sleep 0.1; done"
    return f"sh '''#!/bin/sh\necho begun; echo x >> {marks}; {wait}; echo through; echo y >> {marks}'''"


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
async def test_running_build_continues_after_a_restart(
    server: Server, caller: Caller, tmp_path: Path, ending: signal.Signals
) -> None:
    gate, before, marks = tmp_path / "gate", tmp_path / "before", tmp_path / "marks"
    stages = f"steps:sh 'echo z >> {before}$BUILD_NUMBER'\nwithEnv(['A=1']) {{\n{gated(gate, marks)}\n}}\n"
    stages += "sh 'echo after $A_TOKEN'"
    await caller.create("j", stages, parameters=("A_TOKEN",), properties=SERIAL)
    first = await caller.trigger("j", A_TOKEN="s3cret-1")
    blocked = await caller.trigger("j", A_TOKEN="s3cret-2")
    quiet = await caller.trigger("j", delay="3600sec", A_TOKEN="s3cret-3")
    await caller.shows("begun\n", "j")
    answer = await caller.get(LOG)
    read, offset = answer.text, int(answer.headers["X-Text-Size"])

    await server.end(ending)
    await server.start()

    assert (await caller.build("j"))["building"]
    assert (await caller.get(f"/queue/item/{first}/api/json")).status == 404, (
        "a restart forgets items that had left the queue"
    )
    assert (await caller.item(blocked))["_class"].endswith("BlockedItem")
    assert (await caller.item(quiet))["_class"].endswith("WaitingItem")
    gate.touch()
    assert await caller.ended("j") == "SUCCESS"
    rest = (await caller.get(f"{LOG}?start={offset}")).text
    assert "X-More-Data" not in (await caller.get(LOG)).headers
    assert (read + rest).replace("\r\n", "\n") == await caller.console("j")
    lines = rest.splitlines()
    assert lines[0].startswith("Resuming build at ")
    assert lines[0].endswith(" after Jenkins restart")
    assert lines[1] == "Waiting to resume part of j #1: Finished waiting"
    assert lines[2].startswith("Ready to run at ")
    assert lines[3:6] == ["through", "[Pipeline] }", "[Pipeline] // withEnv"]
    assert "after s3cret-1" in lines
    assert (tmp_path / "before1").read_text() == "z\n", "a finished step is not repeated"
    assert (tmp_path / "marks1").read_text() == "x\ny\n", "the running step has continued"
    assert await caller.ended("j", 2) == "SUCCESS", "the waiting build runs with its own parameters"
    assert "after s3cret-2" in await caller.console("j", 2)


@pytest.mark.slow
async def test_step_that_ended_during_the_restart_keeps_its_result(
    server: Server, caller: Caller, tmp_path: Path
) -> None:
    gate, marks = tmp_path / "gate", tmp_path / "marks"
    await caller.create("j", f"steps:{gated(gate, marks)}\nsh 'exit 5'")
    await caller.trigger("j")
    await caller.shows("begun\n", "j")
    await server.end(signal.SIGKILL)
    gate.touch()
    await until(lambda: _marked(tmp_path / "marks1", "x\ny\n"))
    await server.start()
    assert await caller.ended("j") == "FAILURE"
    console = await caller.console("j")
    assert console.count("through\n") == 1
    assert console.endswith("ERROR: script returned exit code 5\nFinished: FAILURE\n")


async def _marked(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


@pytest.mark.slow
async def test_every_step_runs_once_despite_repeated_kills(server: Server, caller: Caller, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    steps = "\n".join(f"sh 'echo {number} >> {marks}; echo line {number}'" for number in range(30))
    branches = "\n".join(
        f"stage('b{n}') {{\n steps {{\n sh 'echo b{n} >> {marks}; sleep 0.05'\n }}\n}}" for n in range(4)
    )
    serial = f"stage('one') {{\n steps {{\n{steps}\n }}\n}}"
    await caller.create("j", f"{serial}\nstage('par') {{\n parallel {{\n{branches}\n }}\n}}")
    await caller.trigger("j")
    offset, text = 0, ""
    for _ in range(5):
        await caller.get("/api/json")
        answer = await caller.get(f"{LOG}?start={offset}")
        if answer.status == 200:
            offset, text = int(answer.headers["X-Text-Size"]), text + answer.text
        await server.end(signal.SIGKILL)
        await server.start()
    assert await caller.ended("j") == "SUCCESS"
    text += (await caller.get(f"{LOG}?start={offset}")).text
    assert text.replace("\r\n", "\n") == await caller.console("j")
    done = marks.read_text().split()
    assert done[:30] == [str(number) for number in range(30)]
    assert sorted(done[30:]) == ["b0", "b1", "b2", "b3"]
    shown = [line for line in text.splitlines() if line.startswith("line ")]
    assert shown == [f"line {number}" for number in range(30)]
    assert text.count("[Pipeline] sh\r\n") == 34


@pytest.mark.slow
async def test_stop_before_the_end_of_the_server_takes_effect_after_it(
    server: Server, caller: Caller, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    await caller.create("j", f"steps:{ignoring_term(gate)}")
    await caller.trigger("j")
    await caller.shows("ignoring_term\n", "j")
    await caller.post("/job/j/1/stop")
    await caller.shows("Aborted by admin\n", "j")
    await server.end(signal.SIGKILL)
    await server.start()
    assert (await caller.build("j"))["building"]
    assert (await caller.post("/job/j/1/term")).status == 200
    assert await caller.ended("j") == "ABORTED"
    gate.touch()


async def test_unrecorded_end_is_recorded_at_the_next_start(
    start: Start, session: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jenkins = await start(generation="2.263")
    caller = Caller(session, jenkins.url)
    await caller.create("j", "steps:sh 'echo once'")
    directory = tmp_path / "home" / "jobs" / "j" / "builds" / "1"
    with monkeypatch.context() as patched:
        # The server ends between the result in the journal and the result in the build's record.
        patched.setattr("jenkins_emulator.runs.Run._record_result", lambda *_: None)
        await caller.trigger("j")
        await until(lambda: _ends_with(directory / "log", b"Finished: SUCCESS\n"))
    log = (directory / "log").read_bytes()
    await jenkins.close()
    again = Caller(session, (await start(generation="2.263")).url)
    assert await again.ended("j") == "SUCCESS"
    assert (directory / "log").read_bytes() == log


async def _ends_with(path: Path, text: bytes) -> bool:
    return path.exists() and path.read_bytes().endswith(text)


async def test_vanished_process_fails_the_build(start: Start, session: aiohttp.ClientSession, tmp_path: Path) -> None:
    jenkins = await start()
    caller = Caller(session, jenkins.url)
    await caller.create("j", f"steps:sh 'echo $PPID > {tmp_path}/wrapper; echo inside; sleep 60'")
    await caller.trigger("j")
    await caller.shows("inside\n", "j")
    os.killpg(int((tmp_path / "wrapper").read_text()), signal.SIGKILL)
    assert await caller.ended("j") == "FAILURE"
    assert "ERROR: script returned exit code -1\n" in await caller.console("j")
