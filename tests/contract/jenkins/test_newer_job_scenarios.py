"""Recorded scenarios of 2.568: creating, configuring and deleting jobs."""

import pytest

from tests.contract.jenkins.coverage import covers_newer
from tests.contract.jenkins.job_xml import shuttle_xml
from tests.contract.jenkins.newer_situations import create, is_over, running, shows, stop, trigger
from tests.contract.jenkins.situations import left_with_a_number

pytestmark = pytest.mark.needs("matrix")


@covers_newer(*(f"B-jobs-0{number:02}" for number in range(1, 36)))
async def test_jobs_are_created_configured_and_found(replay):
    for number in range(1, 36):
        answer = await replay(f"B-jobs-0{number:02}")
        if number == 33:
            assert answer.text == "Jenkinsfile successfully validated.\n"
        if number == 35:
            assert answer.text.startswith("Errors encountered validating Jenkinsfile:\n")


@covers_newer(*(f"H-delete-00{number}" for number in range(1, 8)))
async def test_idle_job_of_the_newer_generation_is_deleted(replay):
    await create(replay, "d1")
    await create(replay, "d2")
    for number in range(1, 8):
        await replay(f"H-delete-00{number}")


@covers_newer(*(f"H-delete-0{number:02}" for number in range(8, 15)))
async def test_deletion_of_a_job_ends_its_running_build_first(replay):
    await create(replay, "d3")
    await running(replay, "d3")
    for number in range(8, 12):
        await replay(f"H-delete-0{number:02}")
    await replay("H-delete-012", body=shuttle_xml("echo new"))
    await replay("H-delete-013")
    await trigger(replay, "d3", 38, number=7)
    await replay.server.until(lambda: left_with_a_number(replay, 38))
    await is_over(replay, "d3")
    await replay("H-delete-014")


@covers_newer("H-delete-015", "H-delete-016", "H-delete-017")
async def test_deletion_of_a_job_cancels_its_queue_items(replay):
    await create(replay, "d4")
    await trigger(replay, "d4", recorded_item=40, delay="60sec")
    for number in (15, 16, 17):
        await replay(f"H-delete-0{number}")


@covers_newer("H-delete-018", "H-delete-019")
async def test_running_build_is_not_deleted(replay):
    await create(replay, "st")
    await running(replay, "st")
    await running(replay, "st", recorded_item=41, number=2)
    for number in (1, 2):
        assert replay.matches.same("build of st", number, number)
    await replay("H-delete-018")
    await replay("H-delete-019")
    for number in (1, 2):
        await stop(replay, "st", number)
    await shows(replay, "st", "Finished: ABORTED\n", 2)
