"""Recorded scenarios of 2.568: running and finished builds, replays, and the three ways to end a build."""

import pytest

from tests.contract.jenkins.coverage import covers_newer
from tests.contract.jenkins.newer_situations import IGNORES_TERM, create, is_over, running, shows, trigger
from tests.contract.jenkins.situations import has_build, left_with_a_number

pytestmark = pytest.mark.needs("matrix")
# Visible for a moment after the end of the build.
A_MOMENT = frozenset({"executor"})


@covers_newer(*(f"D-builds-0{number:02}" for number in range(1, 18)))
async def test_build_from_its_start_to_its_description(replay):
    await create(replay, "c1", "echo up; sleep 1", serial=True)
    await running(replay, "c1", 1)
    await trigger(replay, "c1", 2, number=2)
    for number in range(1, 5):
        await replay(f"D-builds-00{number}")
    await is_over(replay, "c1")
    await replay.server.until(lambda: has_build(replay, "c1", 2))
    for number in range(5, 18):
        await replay(f"D-builds-0{number:02}", ignoring=frozenset({"jobs"}))


@covers_newer("D-builds-018", "D-builds-019")
async def test_replays_of_a_build_without_passwords(replay):
    await create(replay, "norepl", "echo up", parameters=False)
    assert (await replay.ask("POST", f"/job/{replay.job('norepl')}/build?delay=0sec")).status == 201
    await is_over(replay, "norepl")
    for number in (2, 3):
        await replay(f"D-builds-0{number + 16}")
        await replay.server.until(lambda number=number: has_build(replay, "norepl", number))


@covers_newer(*(f"G-stop-0{number:02}" for number in range(1, 13)))
async def test_build_is_stopped(replay):
    await create(replay, "st")
    await running(replay, "st", 30)
    for number in (1, 2, 3):
        await replay(f"G-stop-00{number}")
    await is_over(replay, "st")
    await shows(replay, "st", "Finished: ABORTED\n")
    await replay("G-stop-004")
    console = (await replay("G-stop-005")).text.splitlines()
    said = ["Sending interrupt signal to process", "Aborted by shuttle", "Terminated"]
    assert set(said) <= set(console)
    assert console[-2].startswith("org.jenkinsci.plugins.workflow.actions.ErrorAction$ErrorId: ")
    for number in range(6, 13):
        await replay(f"G-stop-0{number:02}")


@covers_newer(*(f"G-stop-0{number}" for number in range(13, 22)))
async def test_script_that_ignores_term_is_killed(replay):
    await create(replay, "ign", IGNORES_TERM)
    await running(replay, "ign", 32)
    for number in range(13, 18):
        await replay(f"G-stop-0{number}")
    await is_over(replay, "ign")
    await shows(replay, "ign", "Finished: ABORTED\n")
    await replay("G-stop-018")
    assert "\nTerminating sh\n" in (await replay("G-stop-019")).text
    await running(replay, "ign", number=2)
    await replay("G-stop-020")
    await is_over(replay, "ign", 2)
    await shows(replay, "ign", "Finished: ABORTED\n", 2)
    assert (await replay("G-stop-021")).text.endswith("\nup\nHard kill!\nFinished: ABORTED\n")


@covers_newer(*(f"K-declarative-00{number}" for number in range(1, 7)))
async def test_recorded_declarative_job_is_built(replay):
    await replay("K-declarative-001")
    await replay("K-declarative-002")
    await replay.server.until(lambda: left_with_a_number(replay, 46))
    await is_over(replay, "recorded")
    await shows(replay, "recorded", "Finished: SUCCESS\n")
    await replay("K-declarative-003", ignoring=A_MOMENT)
    for number in (4, 5, 6):
        await replay(f"K-declarative-00{number}")
