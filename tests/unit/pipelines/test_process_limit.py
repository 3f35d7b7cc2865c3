"""The agent's user has reached its limit of processes (`ulimit -u`), so that no shell can fork."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.unchecked import unchecked
from tests.unit.pipelines.agent import SHELLS, Agent, is_running, long_time
from tests.unit.pipelines.builds import SCRIPT, shuttle, until

# The interpreter of the tests may be in a folder that the agent's user cannot read.
_PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin")


@pytest.fixture(params=SHELLS)
def limited_agent(request: pytest.FixtureRequest) -> Iterator[Agent]:
    """An agent with a user of its own, who may have 40 processes."""
    if os.geteuid() != 0:
        unchecked("only root can run an agent as another user")
    if _PYTHON is None:
        unchecked("the build needs the python3 of the system")
    home = Path(tempfile.mkdtemp(prefix="limited-agent-"))
    agent = Agent(home, request.param, process_limit=40)
    yield agent
    agent.clean_up()
    shutil.rmtree(home)


# Starts processes as long as it can, half of them in sessions of their own, and never ends.
_FILL = b"""\
import os, sys
while True:
    try:
        for time_of_one in sys.argv[1:]:
            if os.fork() == 0:
                if time_of_one == sys.argv[1]:
                    os.setsid()
                os.execvp("sleep", ["sleep", time_of_one])
    except BlockingIOError:
        pass
"""


def filling(agent: Agent, *times: str) -> str:
    wait = f"echo begun; while [ ! -e {agent.home}/go ]; do sleep 0.1; done"
    return f"{wait}\nexec {_PYTHON} fill {' '.join(times)}\n"


@pytest.mark.slow
async def test_build_that_fills_the_limit_of_processes_is_ended_and_reported(limited_agent: Agent) -> None:
    """bash tries to fork for 15 s before it gives up."""
    times = [long_time(), long_time()]
    async with shuttle(filling(limited_agent, *times), fill=_FILL) as api, asyncio.timeout(50):
        limited_agent.url = api.url
        (limited_agent.home / "go").touch()
        run = await limited_agent.run(SCRIPT)
    assert (run.status, api.ends) == (1, {"main": 1}), run.console
    assert api.reports["failure"]["reason"] == "supervisor_failed"
    assert "begun\n" in api.log
    assert not any(map(is_running, times))


@pytest.mark.slow
async def test_processes_at_the_limit_are_ended_after_the_supervisor_was_killed(limited_agent: Agent) -> None:
    times = [long_time(), long_time()]
    async with shuttle(filling(limited_agent, *times), fill=_FILL) as api, asyncio.timeout(50):
        limited_agent.url = api.url
        api.claim_answer = {"stop_grace_seconds": 0}
        step = await limited_agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        os.kill(step.process.pid, signal.SIGSTOP)
        (limited_agent.home / "go").touch()
        await until(lambda: len(limited_agent.processes()) >= 30)
        step.process.kill()
        await step.ended()
        await until(lambda: not any(map(is_running, times)))
