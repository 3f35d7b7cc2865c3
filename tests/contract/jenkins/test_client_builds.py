"""Builds, queue and logs through the client, against the emulated Jenkins and any other that JENKINS_URL names."""

import pytest

from shuttle.errors import (
    JenkinsNotFoundError,
    JenkinsUnavailableError,
)
from shuttle.jenkins import JenkinsBuild, StopCommand
from tests.contract.jenkins.job_xml import IGNORES_TERM
from tests.contract.jenkins.our_builds import DIGEST, ended, new_build, ours, started, text, triggered


async def test_build_from_the_trigger_to_its_end(server, jenkins, job):
    await jenkins.apply_job(job, ours('echo "uuid $BUILD_UUID"; echo "${#SHUTTLE_TOKEN} letters"'), DIGEST)
    parameters = new_build()
    item, number = await triggered(server, jenkins, job, parameters)
    left = await jenkins.queue_item(item, parameters["BUILD_UUID"])
    assert (left.item, left.why, left.cancelled) == (item, None, False)
    assert await ended(server, jenkins, job, number) == JenkinsBuild(number, False, "SUCCESS", item)
    assert await jenkins.find_build(job, parameters["BUILD_UUID"]) == JenkinsBuild(number, False, "SUCCESS", item)
    log = await text(jenkins, job, number)
    assert f"\nuuid {parameters['BUILD_UUID']}\n".encode() in log
    assert b"\n18 letters\n" in log


async def test_marker_is_found_while_the_build_waits_and_runs(server, jenkins, job):
    await jenkins.apply_job(job, ours(), DIGEST)
    assert await jenkins.newest_build(job) is None
    running, waits, never = new_build(), new_build(), new_build()
    number = await started(server, jenkins, job, running)
    item = await jenkins.trigger(job, waits)
    listing = await jenkins.waiting()
    assert listing[waits["BUILD_UUID"]].item == item
    assert (listing[waits["BUILD_UUID"]].why or "").startswith(f"Build #{number} is already in progress")
    assert listing[waits["BUILD_UUID"]].blocked
    assert running["BUILD_UUID"] not in listing
    found = await jenkins.find_build(job, running["BUILD_UUID"])
    assert found is not None
    assert (found.number, found.building, found.result) == (number, True, None)
    assert await jenkins.newest_build(job) == found
    assert await jenkins.find_build(job, waits["BUILD_UUID"]) is None
    assert await jenkins.find_build(job, never["BUILD_UUID"]) is None
    assert await jenkins.find_build(f"{job}-that-is-not-there", never["BUILD_UUID"]) is None
    assert await jenkins.trigger(job, waits) == item, "the same build again is the same item while it waits"


async def test_queue_item_is_cancelled(server, jenkins, job):
    await jenkins.apply_job(job, ours(), DIGEST)
    runs, waits = new_build(), new_build()
    first, _ = await triggered(server, jenkins, job, runs)
    item, build_uuid = await jenkins.trigger(job, waits), waits["BUILD_UUID"]
    await jenkins.cancel(item, runs["BUILD_UUID"])
    assert not (await jenkins.queue_item(item, build_uuid)).cancelled, "it is the item of another build"
    await jenkins.cancel(item, build_uuid)
    cancelled = await jenkins.queue_item(item, build_uuid)
    assert (cancelled.cancelled, cancelled.number) == (True, None)
    await jenkins.cancel(item, build_uuid)
    await jenkins.cancel(first, runs["BUILD_UUID"])
    await jenkins.cancel(999_999_999, build_uuid)


async def test_queue_item_of_nobody_or_of_another_build_is_not_found(server, jenkins, job):
    await jenkins.apply_job(job, ours(), DIGEST)
    build_uuid = new_build()["BUILD_UUID"]
    left, _ = await triggered(server, jenkins, job, new_build())
    waits = await jenkins.trigger(job, new_build())
    for item in (left, waits, 999_999_999):
        with pytest.raises(JenkinsNotFoundError):
            await jenkins.queue_item(item, build_uuid)


async def test_build_is_stopped(server, jenkins, job):
    await jenkins.apply_job(job, ours(), DIGEST)
    number = await started(server, jenkins, job, new_build())
    await jenkins.stop(job, number, StopCommand.STOP)
    assert (await ended(server, jenkins, job, number)).result == "ABORTED"
    for command in StopCommand:
        await jenkins.stop(job, number, command)
        await jenkins.stop(job, 999, command)
        await jenkins.stop(f"{job}-that-is-not-there", 1, command)


@pytest.mark.parametrize("commands", [list(StopCommand)[:2], list(StopCommand)])
async def test_script_that_ignores_stop_is_terminated(server, jenkins, job, commands):
    await jenkins.apply_job(job, ours(IGNORES_TERM), DIGEST)
    number = await started(server, jenkins, job, new_build())
    for command in commands:
        await jenkins.stop(job, number, command)
    assert (await ended(server, jenkins, job, number)).result == "ABORTED"


async def test_description_of_a_build_is_set(server, jenkins, job, replay):
    await jenkins.apply_job(job, ours("echo hi"), DIGEST)
    _, number = await triggered(server, jenkins, job, new_build())
    await jenkins.describe(job, number, 'Build #3 & "more", žluť <b>')
    shown = await replay.ask("GET", f"/job/{job}/{number}/api/json?tree=description")
    assert shown.json["description"] == 'Build #3 & "more", žluť <b>'
    with pytest.raises(JenkinsNotFoundError):
        await jenkins.describe(job, 999, "nobody")


async def test_end_of_the_console_is_returned(server, jenkins, job):
    await jenkins.apply_job(job, ours("for i in 1 2 3; do echo žluť $i; done; seq 1 20000; exit 3"), DIGEST)
    _, number = await triggered(server, jenkins, job, new_build())
    await ended(server, jenkins, job, number)
    tail = await jenkins.console_tail(job, number, 1000)
    assert tail.endswith(b"19999\n20000\n+ exit 3\nERROR: script returned exit code 3\n")
    assert len(tail) <= 1000


@pytest.mark.needs("restart")
async def test_starting_jenkins_is_unavailable_and_its_builds_continue(server, jenkins, job):
    await jenkins.apply_job(job, ours(), DIGEST)
    parameters = new_build()
    number = await started(server, jenkins, job, parameters)
    await server.restart()
    for question in (jenkins.build(job, number), jenkins.find_build(job, parameters["BUILD_UUID"]), jenkins.waiting()):
        with pytest.raises(JenkinsUnavailableError):
            await question
    server.load()
    assert (await jenkins.build(job, number)).building
    await jenkins.stop(job, number, StopCommand.STOP)
    assert (await ended(server, jenkins, job, number)).result == "ABORTED"
