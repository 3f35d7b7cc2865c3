"""An earlier build of the workspace still runs there: Jenkins lost the agent, and ended the build by itself."""

import asyncio
import contextlib
import os
import signal

from tests.unit.pipelines.agent import Agent, is_running, long_time
from tests.unit.pipelines.builds import SCRIPT, shuttle


async def test_supervisor_of_an_earlier_build_does_not_change_the_next_build_of_its_workspace(
    each_agent: Agent,
) -> None:
    """A supervisor stopped by SIGSTOP stands for one on a lost agent; it continues while the next build runs."""
    go, forever = each_agent.home / "go", long_time()
    next_build = f"echo begun; while [ ! -e {go} ]; do sleep 0.1; done; [ -e build.sh ]\n"
    async with shuttle(f"echo begun; sleep {forever}\n") as earlier, shuttle(next_build) as api, asyncio.timeout(25):
        earlier.claim_answer = {"stop_grace_seconds": 1}
        each_agent.url = earlier.url
        old = await each_agent.start(SCRIPT)
        await earlier.until(lambda: "begun" in earlier.log)
        os.kill(old.process.pid, signal.SIGSTOP)
        each_agent.url = api.url
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        assert not is_running(forever)
        with contextlib.suppress(ProcessLookupError):
            os.kill(old.process.pid, signal.SIGCONT)
        await old.ended()
        go.touch()
        run = await step.ended()
    assert (run.status, api.ends) == (0, {"main": 0}), api.log
    assert list(each_agent.home.glob("workspace*")) == [each_agent.workspace]


async def test_branch_does_not_end_a_branch_whose_name_begins_like_its_own(each_agent: Agent) -> None:
    go = each_agent.home / "go"
    waiting, quick = f"echo begun; while [ ! -e {go} ]; do sleep 0.1; done\n", "echo done\n"
    async with shuttle(waiting) as other, shuttle(quick) as api, asyncio.timeout(25):
        each_agent.url, each_agent.environment = other.url, {"SHUTTLE_BRANCH": "linux-arm"}
        running = await each_agent.start(SCRIPT)
        await other.until(lambda: b"begun" in other.logs["linux-arm"])
        each_agent.url, each_agent.environment = api.url, {"SHUTTLE_BRANCH": "linux"}
        assert (await each_agent.run(SCRIPT)).status == 0
        go.touch()
        assert (await running.ended()).status == 0
    assert (other.ends, api.ends) == ({"linux-arm": 0}, {"linux": 0})
