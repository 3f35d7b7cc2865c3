"""Recorded scenarios: stopping builds, cancelling queue items, and reasons for waiting."""

import pytest

from tests.contract.jenkins.coverage import covers
from tests.contract.jenkins.job_xml import IGNORES_TERM, job_xml, sh, step
from tests.contract.jenkins.situations import create, finished, has_build, left_with_a_number, log, running, trigger

pytestmark = pytest.mark.needs("token")


@pytest.mark.needs("reader")
@covers("D-ctl-001", "D-ctl-002", "D-ctl-003", "D-ctl-004", "D-ctl-005", "D-ctl-006")
async def test_running_build_is_stopped(replay):
    await create(replay, "c1")
    await running(replay, "c1", 17, 7)
    for exchange in ("D-ctl-001", "D-ctl-002", "D-ctl-003"):
        await replay(exchange)
    number = replay.matches.build("c1", 7)
    await replay.server.until(lambda: finished(replay, "c1", number))
    await replay("D-ctl-004")
    ended = await replay("D-ctl-005")
    assert ended.text.endswith("Finished: ABORTED\r\n")
    assert "\r\nAborted by " in ended.text
    await replay("D-ctl-006")


@covers("D-ctl-013", "D-ctl-014", "D-ctl-015", "D-ctl-016")
async def test_stop_of_a_missing_or_ended_build(replay):
    await create(replay, "c1", script=step(sh("echo hi")))
    await trigger(replay, "c1")
    await replay.server.until(lambda: finished(replay, "c1", 1))
    replay.matches.same("build of c1", 4, 1)
    for exchange in ("D-ctl-013", "D-ctl-014", "D-ctl-015", "D-ctl-016"):
        await replay(exchange)


@covers("D-ctl-017", "D-ctl-018", "D-ctl-019", "D-ctl-020")
async def test_script_that_ignores_sigterm_is_ended_by_term(replay):
    await replay("D-ctl-017", body=job_xml(step(sh(IGNORES_TERM))))
    await running(replay, "cterm", 20, 1)
    await replay("D-ctl-018")
    await replay("D-ctl-019")
    shown = await replay.ask("GET", f"/job/{replay.job('cterm')}/1/api/json?tree=building")
    assert shown.json["building"], "stop alone does not end it"
    await replay("D-ctl-020")
    await replay.server.until(lambda: finished(replay, "cterm", 1))
    shown = await replay.ask("GET", f"/job/{replay.job('cterm')}/1/api/json?tree=result")
    assert shown.json["result"] == "ABORTED"


@pytest.mark.needs("reader")
@covers(*(f"D-ctl-0{number}" for number in range(21, 37)))
async def test_builds_without_concurrency_wait_and_can_be_cancelled(replay):
    await create(replay, "cser", serial=True)
    await running(replay, "cser", 22, 1, who="a")
    replay.matches.same("item", 23, await trigger(replay, "cser", "1", "b"))
    replay.matches.same("item", 25, await trigger(replay, "cser", "1", "c"))
    for number in range(21, 28):
        await replay(f"D-ctl-0{number}")
    for number in range(28, 37):
        await replay(f"D-ctl-0{number}")


@covers("D-ctl-037", "D-ctl-038")
async def test_item_is_cancelled_during_the_quiet_period(replay):
    await create(replay, "c1")
    replay.matches.same("item", 26, await trigger(replay, "c1", "1", "quiet", delay="60sec"))
    await replay("D-ctl-037")
    await replay("D-ctl-038")


@pytest.mark.slow
@pytest.mark.needs("alone")
@covers("D-ctl-039", "D-ctl-040", "D-ctl-041", "D-ctl-042")
async def test_builds_wait_while_all_executors_are_busy(replay):
    """Two builds more than executors: their items leave the queue at once, and two other items show the reason."""
    await create(replay, "c1")
    executors = (await replay.ask("GET", "/api/json?tree=numExecutors")).json["numExecutors"]
    for recorded in range(33 - executors - 2, 33):
        replay.matches.same("item", recorded, await trigger(replay, "c1", "60", f"e{recorded - 27}"))
    for recorded in range(30, 33):
        await replay.server.until(lambda recorded=recorded: left_with_a_number(replay, recorded))

    async def two_wait():
        queue = await replay.ask("GET", "/queue/api/json")
        return len(queue.json["items"]) == 2

    await replay.server.until(two_wait)
    queue = await replay.ask("GET", "/queue/api/json")
    for recorded, item in zip((38, 37), queue.json["items"], strict=True):
        replay.matches.same("item", recorded, item["id"])
    await replay("D-ctl-039")
    for number in (40, 41, 42):
        await replay(f"D-ctl-0{number}")
    waiting = replay.matches.build("c1", 12)

    async def log_says_so():
        return b"Still waiting to schedule task\r\n" in await log(replay, "c1", waiting)

    await replay.server.until(log_says_so)


@covers("D-ctl-070", "D-ctl-071", "D-ctl-072", "D-ctl-073")
async def test_deleting_builds_finished_and_running(replay):
    await create(replay, "c1")
    await trigger(replay, "c1", "0")
    await replay.server.until(lambda: finished(replay, "c1", 1))
    replay.matches.same("build of c1", 4, 1)
    await replay("D-ctl-070")
    await replay("D-ctl-071")
    await running(replay, "c1", 45, 14)
    stopped = f"/job/{replay.job('c1')}/{replay.matches.build('c1', 14)}/stop"
    await replay("D-ctl-072")
    await replay("D-ctl-073")
    assert (await replay.ask("POST", stopped)).status == 404
    assert not await has_build(replay, "c1", 2)
