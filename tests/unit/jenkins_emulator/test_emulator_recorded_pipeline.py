"""The recorded declarative job gives the recorded console in the emulator."""

import re
from collections import Counter

import aiohttp
import pytest

from tests.unit.jenkins_emulator.conftest import Start
from tests.unit.jenkins_emulator.emulator_caller import RECORDINGS, XML, Caller


async def run_recorded(caller: Caller) -> list[str]:
    config = (RECORDINGS / "config.xml").read_bytes()
    assert (await caller.post("/createItem?name=recorded", data=config, headers=XML)).status == 200
    await caller.trigger("recorded", BUILD_UUID="u1", SHUTTLE_TOKEN="s3cr3tvalue1")
    assert await caller.ended("recorded") == "SUCCESS"
    return lines(await caller.console("recorded"))


def lines(console: str) -> list[str]:
    return [re.sub(r"^(Running on|Started by user) .*", r"\1 …", line) for line in console.splitlines()]


def parts(console: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Before, within and after the parallel branches, whose lines interleave."""
    start, end = console.index("[Pipeline] parallel"), console.index("[Pipeline] // parallel")
    return console[:start], console[start:end], console[end:]


@pytest.mark.parametrize(("generation", "name"), [("2.263", "console.txt"), ("2.568", "console-2568.txt")])
async def test_console_equals_the_recorded_one_line_by_line(
    start: Start, session: aiohttp.ClientSession, generation: str, name: str
) -> None:
    caller = Caller(session, (await start(generation=generation)).url)
    before, parallel, after = parts(await run_recorded(caller))
    recorded_before, recorded_parallel, recorded_after = parts(lines((RECORDINGS / name).read_text()))
    assert before == recorded_before
    assert after == recorded_after
    assert Counter(parallel) == Counter(recorded_parallel)


async def test_config_is_rewritten_after_a_build_as_recorded(caller: Caller) -> None:
    await run_recorded(caller)
    kept = (await caller.get("/job/recorded/config.xml")).text
    recorded = (RECORDINGS / "config-after-a-build.xml").read_text()
    assert kept.split("\n", 1)[0] == recorded.split("\n", 1)[0]
    for tag in (
        "DeclarativeJobAction",
        "DisableConcurrentBuildsJobProperty",
        "BuildDiscarderProperty",
        "<numToKeep>50",
    ):
        assert tag in kept
        assert tag in recorded


async def test_sections_on_one_line_do_not_compile(caller: Caller) -> None:
    script = (RECORDINGS / "console-of-blocks-on-one-line.txt").read_text().splitlines()[4].strip()
    await caller.create("joined", f"{script}\n")
    await caller.trigger("joined")
    assert await caller.ended("joined") == "FAILURE"
    console = await caller.console("joined")
    assert "startup failed:\nWorkflowScript: 4: " in console
    assert console.endswith("Finished: FAILURE\n")
    assert "[Pipeline]" not in console
