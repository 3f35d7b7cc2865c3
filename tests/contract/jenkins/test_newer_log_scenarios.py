"""Recorded scenarios of 2.568: a growing log, the parts that are lost, and a complete log."""

import pytest

from tests.contract.jenkins.coverage import covers_newer
from tests.contract.jenkins.job_xml import job_xml
from tests.contract.jenkins.newer_situations import create, is_over, shows, stop, trigger
from tests.contract.jenkins.situations import XML

pytestmark = pytest.mark.needs("matrix")


@covers_newer("I-log-001", "I-log-002", "I-log-004", "I-log-005", "I-log-006")
async def test_running_build_shows_at_most_ten_thousand_lines(replay):
    await create(replay, "many", "seq 1 25000; sleep 60")
    await trigger(replay, "many")
    await shows(replay, "many", "\n25000\n")
    running = await replay("I-log-001")
    assert running.text.count("\r\n") == 10_000
    size = running.headers["X-Text-Size"]
    await replay("I-log-002", query=f"start={size}")
    assert "\n25000\n" in (await replay("I-log-004")).text
    await stop(replay, "many")
    await shows(replay, "many", "Finished: ABORTED\n")
    whole = await replay("I-log-005")
    assert "\r\n25000\r\n" in whole.text
    assert int(whole.headers["X-Text-Size"]) == len(whole.body) - whole.body.count(b"\r")
    await replay("I-log-006")


@covers_newer("I-log-008")
async def test_console_of_a_script_that_does_not_compile(replay):
    body = job_xml("pipeline { nope", parameters=False)
    await replay.ask("POST", f"/createItem?name={replay.job('part')}", data=body, headers=XML)
    await replay.ask("POST", f"/job/{replay.job('part')}/build?delay=0sec")
    await is_over_when_there(replay, "part")
    assert "startup failed:" in (await replay("I-log-008")).text


async def is_over_when_there(replay, name):
    await is_over(replay, name)
    await shows(replay, name, "Finished: FAILURE\n")


@covers_newer(*(f"I-log-0{number:02}" for number in (9, 10, *range(12, 23), 24, 25, 27)))
async def test_unfinished_line_is_counted_but_not_sent(replay):
    await create(replay, "part2", "echo one; printf abc; sleep 1; echo def; sleep 60")
    await trigger(replay, "part2")
    path = f"/job/{replay.job('part2')}/1/logText/progressiveText"

    async def has_unfinished_line():
        answer = await replay.ask("GET", path)
        return "X-Text-Size" in answer.headers and unsent(answer) == len(b"abc")

    await replay.server.until(has_unfinished_line)
    running = await replay("I-log-009")
    assert running.text.endswith("\r\none\r\n")
    assert "\x1b[8mha:" in running.text
    start = running.headers["X-Text-Size"]
    await replay("I-log-010", query=f"start={start}")
    assert (await replay("I-log-012")).text.endswith("\none\n")
    await shows(replay, "part2", "\nabcdef\n")
    assert (await replay("I-log-013", query=f"start={start}")).text == "def\r\n"
    await replay("I-log-014")
    await stop(replay, "part2")
    await shows(replay, "part2", "Finished: ABORTED\n")

    whole = await replay("I-log-015")
    size = int(whole.headers["X-Text-Size"])
    await replay("I-log-016", query=f"start={size}")
    assert (await replay("I-log-017", query=f"start={size + 1000}")).body == whole.body
    for number in range(18, 23):
        await replay(f"I-log-0{number}")
    assert "\x1b[8m" not in (await replay("I-log-024")).text
    await replay("I-log-025")
    assert not (await replay("I-log-027")).text.startswith("Started by")


def unsent(answer):
    return int(answer.headers["X-Text-Size"]) - len(answer.body) + answer.body.count(b"\r")
