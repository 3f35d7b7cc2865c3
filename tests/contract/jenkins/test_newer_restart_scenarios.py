"""Recorded scenario of 2.568: a restart during a build, with a valid token refused for a while."""

import pytest

from jenkins_emulator.startup import Phase
from tests.contract.jenkins.coverage import covers_newer
from tests.contract.jenkins.newer_situations import create, is_over, running, shows, trigger
from tests.contract.jenkins.situations import left_with_a_number

pytestmark = pytest.mark.needs("matrix", "restart")


@pytest.mark.slow
@covers_newer(*(f"J-restart-0{number:02}" for number in range(1, 13)))
async def test_running_build_continues_after_a_restart_that_refuses_a_valid_token_at_first(replay):
    server = replay.server
    await create(replay, "other", "echo up; sleep 1", serial=True)
    item = await trigger(replay, "other")
    await shows(replay, "other", "up\n")
    replay.matches.same("item", 51, item + 1)
    await trigger(replay, "other", 52, number=2)
    await create(replay, "rs", "echo up; for i in 1 2 3 4; do sleep 0.4; echo tick $i; done")
    await running(replay, "rs", 53)
    await replay("J-restart-001")
    log = await replay.ask("GET", f"/job/{replay.job('rs')}/1/logText/progressiveText")

    await server.restart()
    await replay("J-restart-002")
    await replay("J-restart-003")
    server.emulated.startup.enter(Phase.DENYING)
    await replay("J-restart-004")
    await replay("J-restart-005")
    server.load()
    await is_over(replay, "rs")
    await shows(replay, "rs", "Finished: SUCCESS\n")
    await server.until(lambda: left_with_a_number(replay, 52))
    for number in range(6, 9):
        await replay(f"J-restart-00{number}")
    rest = await replay("J-restart-009", query=f"start={log.headers['X-Text-Size']}")
    said = [line.partition(" at ")[0] for line in rest.text.splitlines()[:3]]
    assert said == ["Pausing (shutting down)", "Resuming build", "Ready to run"]
    for number in range(10, 13):
        await replay(f"J-restart-0{number}")
