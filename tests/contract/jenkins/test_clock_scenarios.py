"""Recorded scenarios that depend on time and restarts: the five-minute rule, quieting down, starting up."""

import pytest

from tests.contract.jenkins.coverage import covers
from tests.contract.jenkins.job_xml import job_xml
from tests.contract.jenkins.situations import create, finished, left_with_a_number, running, trigger


@pytest.mark.needs("clock")
@covers("E-misc-055", "E-misc-056", "F-q5min-001", "F-q5min-unpolled-001", "F-q5min-unpolled-002")
async def test_queue_item_is_forgotten_five_minutes_after_it_left(replay):
    server = replay.server
    await create(replay, "cq0", quiet=0)
    replay.matches.same("item", 1, await trigger(replay, "cq0", "0", "long%20ago"))
    await server.until(lambda: left_with_a_number(replay, 1))
    await server.pass_time(200)
    await create(replay, "c1")
    replay.matches.same("item", 6, await trigger(replay, "c1", "0", "alice%20%26%20b"))
    await server.until(lambda: left_with_a_number(replay, 6))
    await server.pass_time(100)
    replay.matches.same("item", 81, await trigger(replay, "cq0", "0", "q5"))
    await server.until(lambda: left_with_a_number(replay, 81))
    await replay("E-misc-055")
    await server.pass_time(132)
    await replay("E-misc-056")
    await server.pass_time(156)
    await replay("F-q5min-unpolled-001")
    await replay("F-q5min-001")
    await server.pass_time(12)
    await replay("F-q5min-unpolled-002")


@pytest.mark.needs("token", "alone")
@covers(*(f"J-restart-00{number}" for number in range(1, 7)))
async def test_builds_wait_while_jenkins_quiets_down(replay):
    await create(replay, "cq0", quiet=0)
    for number in range(1, 6):
        await replay(f"J-restart-00{number}")
    await replay.server.until(lambda: left_with_a_number(replay, 153))
    await replay("J-restart-006")


@pytest.mark.slow
@pytest.mark.needs("restart")
@covers(
    *("J-restart-007", "J-restart-008", "J-restart-009", "J-restart-011", "J-restart-012", "J-restart-013"),
    *("J-restart-014", "J-restart-015", "J-restart-017"),
)
async def test_restart_resumes_builds_and_keeps_the_queue(replay):
    server = replay.server
    await create(replay, "c1")
    await create(replay, "cser", serial=True)
    await running(replay, "c1", 155, 31)
    await running(replay, "cser", 158, 2, seconds="4")
    number = replay.matches.build("c1", 31)
    replay.matches.same("item", 159, await trigger(replay, "cser", "1", "blk"))
    replay.matches.same("item", 161, await trigger(replay, "c1", "1", "longquiet", delay="60sec"))
    path = f"/job/{replay.job('c1')}/{number}/logText/progressiveText"
    before = await replay.ask("GET", f"{path}?start=0")

    await server.restart()
    await replay("J-restart-007")
    server.load()
    for recorded in ("008", "009", "011", "012", "013", "014"):
        await replay(f"J-restart-{recorded}")

    async def resumed():
        shown = await replay.ask("GET", f"{path}?start={before.headers['X-Text-Size']}")
        return b"Resuming build at" in shown.body

    await server.until(resumed)
    after = await replay("J-restart-015", query=f"start={before.headers['X-Text-Size']}")
    whole = await replay.ask("GET", f"{path}?start=0")
    assert whole.body.startswith(before.body + after.body[:20]), "offsets are still valid"
    await server.until(lambda: left_with_a_number(replay, 159))
    await replay("J-restart-017")
    assert await finished(replay, "cser", replay.matches.build("cser", 2))


@pytest.mark.needs("token")
@covers("E-misc-001", "E-misc-002", "E-misc-003", "E-misc-004")
async def test_urls_in_responses_use_the_host_of_the_request(replay):
    await replay.ask(
        "POST",
        f"/createItem?name={replay.job('c1')}",
        data=job_xml(),
        headers={"Content-Type": "application/xml"},
    )
    await create(replay, "cq0", quiet=0)
    for number in range(1, 5):
        await replay(f"E-misc-00{number}")
