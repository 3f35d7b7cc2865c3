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
