"""Logs of hundreds of megabytes, as an agent sends them."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.agent_api import AgentApi, source_archive
from tests.support.processes import files_of_processes
from tests.unit.pipelines.agent import SHELLS, Agent
from tests.unit.pipelines.builds import SCRIPT, until

MEBIBYTE = 1 << 20


def log_of(agent: Agent) -> Path | None:
    """The unnamed file in which an agent keeps the log."""
    for descriptor in files_of_processes("fd/4"):
        try:
            if str(agent.home) in str(descriptor.readlink()):
                return descriptor
        except OSError:
            continue
    return None


# In the other shells with --long: each of these tests takes twenty seconds.
@pytest.fixture(params=[SHELLS[0], *(pytest.param(shell, marks=pytest.mark.long) for shell in SHELLS[1:])])
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path, request.param)
    yield agent
    agent.clean_up()


async def test_200_megabytes_arrive_exactly(agent: Agent) -> None:
    data = os.urandom(MEBIBYTE) * 200
    (agent.home / "data").write_bytes(data)
    async with AgentApi(source=source_archive({"build.sh": f"#!/bin/sh\ncat {agent.home}/data\n"})) as api:
        agent.url = api.url
        run = await agent.run(SCRIPT)
    assert run.status == 0
    assert bytes(api.logs["main"]) == b"-----> Running build.sh\n" + data
    assert len(api.pushes) < 200


def is_paused(agent: Agent) -> bool:
    """Whether a process of the agent, which collects the build's output, is stopped."""
    states = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in agent.processes())
    with suppress(FileNotFoundError, ProcessLookupError):
        return "T" in states
    return False


async def test_a_build_waits_while_more_than_256_mebibytes_are_unsent(agent: Agent) -> None:
    agent.give("head")
    build = "#!/bin/sh\nexec head -c 6000000000 /dev/zero\n"
    async with AgentApi(source=source_archive({"build.sh": build})) as api:
        agent.url = api.url
        api.claim_answer = {"log": {"max_bytes": 500 * MEBIBYTE}}
        api.held["log"] = asyncio.Event()
        step = await agent.start(SCRIPT)
        await api.until(lambda: "log" in api.waiting)
        await until(lambda: is_paused(agent))
        descriptor = log_of(agent)
        assert descriptor is not None
        assert 256 * MEBIBYTE <= descriptor.stat().st_size < 6_000_000_000, "the build waits"
        api.held.pop("log").set()
        run = await step.ended()
    assert (run.status, api.ends) == (0, {"main": 0})
    assert 500 * MEBIBYTE <= len(api.logs["main"]) < 520 * MEBIBYTE
    assert set(api.logs["main"][-1000:]) == {0}
