"""Recorded scenarios: triggers, the queue, builds and their logs."""

import pytest

from tests.contract.jenkins.coverage import covers
from tests.contract.jenkins.job_xml import job_xml, sh, step
from tests.contract.jenkins.situations import create, finished, left_with_a_number, waiting_for

pytestmark = pytest.mark.needs("token")
CHAPTER_C = [f"C-build-0{number:02}" for number in range(1, 54) if number not in {11, 27, 42, 45}]
# With depth=1 Jenkins shows more of each action than any client reads.
DEPTH = frozenset({"actions"})


@pytest.mark.needs("reader")
@covers("C-build-011")
async def test_reader_may_not_trigger_a_build(replay):
    await create(replay, "c1")
    await replay("C-build-011")


@pytest.mark.slow
@covers(*CHAPTER_C)
async def test_build_from_the_trigger_to_the_complete_log(replay):
    server = replay.server
    await replay("C-build-001", body=job_xml())
    await replay("C-build-002", body=job_xml(serial=True))
    await replay("C-build-003", body=job_xml(quiet=0))
    await replay("C-build-004", body=job_xml(step(sh("echo hi")), parameters=False))
    for number in (5, 6, 7):
        await replay(f"C-build-0{number:02}")
    replay.matches.same("item", 4, await waiting_for(replay, "viajson"))
    for number in (8, 9, 10):
        await replay(f"C-build-0{number:02}")

    # The quiet period: triggers with equal parameters coalesce, others queue; form bodies and delays work.
    for number in range(12, 20):
        await replay(f"C-build-0{number}")
    await replay("C-build-020")

    await server.until(lambda: left_with_a_number(replay, 6))
    await replay("C-build-021")
    for recorded in (4, 7, 8, 9, 10):
        await server.until(lambda recorded=recorded: left_with_a_number(replay, recorded))
    alice = replay.matches.build("c1", 4)
    await replay("C-build-022")
    await replay("C-build-023")

    # The log while the build runs.
    async def has_a_tick():
        answer = await replay.ask("GET", f"/job/{replay.job('c1')}/{alice}/logText/progressiveText?start=0")
        return b"tick 1" in answer.body

    await server.until(has_a_tick)
    running = await replay("C-build-024")
    assert running.body.endswith(b"\r\n"), "whole lines only"
    again = await replay("C-build-025", query=f"start={running.headers['X-Text-Size']}")
    assert again.headers["X-Text-Size"] == running.headers["X-Text-Size"]
    beyond = await replay("C-build-026")
    assert beyond.body == running.body, "beyond the end the whole log comes again"
    console = await replay("C-build-028")
    assert console.body == running.body.replace(b"\r\n", b"\n")
    await replay("C-build-029")

    # The log after the end of the build.
    await server.until(lambda: finished(replay, "c1", alice))
    await replay("C-build-030")
    await replay("C-build-031", ignoring=DEPTH)
    whole = await replay("C-build-032")
    size = int(whole.headers["X-Text-Size"])
    assert whole.body.startswith(running.body)
    assert (await replay("C-build-033")).body == whole.body
    inside = await replay("C-build-034")
    posted = await replay("C-build-039")
    assert inside.body == posted.body, "start in a form is a start"
    assert inside.body not in whole.body, "inside a hidden note the note's own text shows"
    assert (await replay("C-build-035", query=f"start={size}")).headers["X-Text-Size"] == str(size)
    assert (await replay("C-build-036", query=f"start={size + 1000}")).body == whole.body
    for exchange in ("C-build-037", "C-build-038", "C-build-040"):
        await replay(exchange)
    assert (await replay("C-build-041")).body == whole.body
    for number in range(1, 7):
        await server.until(lambda number=number: finished(replay, "c1", number))
    await replay("C-build-043")
    assert (await replay("C-build-044")).body == whole.body.replace(b"\r\n", b"\n")
    for number in range(46, 54):
        await replay(f"C-build-0{number}")
