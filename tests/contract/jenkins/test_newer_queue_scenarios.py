"""Recorded scenarios of 2.568: triggers, and reasons for waiting in the queue."""

import pytest

from tests.contract.jenkins.coverage import covers_newer
from tests.contract.jenkins.newer_situations import create, is_over, placeholders, running, trigger
from tests.contract.jenkins.situations import left_with_a_number

pytestmark = pytest.mark.needs("matrix")


async def as_administrator(replay, path):
    token = {"Authorization": replay.authorization("admin")["Authorization"]}
    assert (await replay.ask("POST", path, headers=token)).status == 302


@pytest.mark.emulated(leave_seconds=0.1)
@covers_newer(*(f"C-trigger-0{number:02}" for number in range(1, 21) if number != 12))
async def test_trigger_leads_to_a_build(replay):
    await create(replay, "c1", serial=True)
    await replay("C-trigger-001")
    await replay("C-trigger-002")
    await replay.server.until(lambda: left_with_a_number(replay, 1))
    for number in range(3, 21):
        if number != 12:
            await replay(f"C-trigger-0{number:02}")


@pytest.mark.needs("clock")
@pytest.mark.emulated(start_seconds=1.0)
@covers_newer("C-trigger-021")
async def test_queue_item_may_leave_before_its_build_is_known(replay):
    await create(replay, "c1")
    await trigger(replay, "c1", recorded_item=20)
    await replay("C-trigger-021")
    await replay.server.until(lambda: left_with_a_number(replay, 20))


@pytest.mark.needs("clock")
@covers_newer("C-trigger-022")
async def test_left_queue_item_is_forgotten_after_five_minutes(replay):
    await create(replay, "c1")
    await trigger(replay, "c1", recorded_item=2)
    await replay.server.until(lambda: left_with_a_number(replay, 2))
    await replay.server.pass_time(301)
    await replay("C-trigger-022")


@covers_newer(*(f"E-trigger-no-0{number:02}" for number in range(3, 11)))
async def test_refused_and_unusual_triggers_get_the_recorded_answers(replay):
    await create(replay, "c1")
    await create(replay, "dis")
    await create(replay, "noparam", parameters=False)
    assert (await replay.ask("POST", f"/job/{replay.job('dis')}/disable")).status == 302
    for number in range(3, 11):
        await replay(f"E-trigger-no-0{number:02}")


@pytest.mark.needs("alone")
@covers_newer("E-trigger-no-011", "E-trigger-no-012", "E-trigger-no-013")
async def test_trigger_while_jenkins_quiets_down(replay):
    await create(replay, "pw0", "echo up")
    await as_administrator(replay, "/quietDown")
    for number in (11, 12, 13):
        await replay(f"E-trigger-no-0{number}")
    await as_administrator(replay, "/cancelQuietDown")


@covers_newer(*(f"F-queue-00{number}" for number in range(1, 8)))
async def test_build_waits_for_a_label_that_no_node_has(replay):
    await create(replay, "lab", label="nowhere")
    await replay("F-queue-001")
    await replay.server.until(lambda: left_with_a_number(replay, 9))
    await replay("F-queue-002")
    await replay("F-queue-003")
    [item] = await placeholders(replay, 1)
    replay.matches.same("item", 11, item)
    await replay("F-queue-004")
    console = await replay("F-queue-005")
    assert console.text == "Started by user shuttle\n[Pipeline] Start of Pipeline\n[Pipeline] node\n"
    await replay("F-queue-006")
    await is_over(replay, "lab")
    await replay("F-queue-007")


@pytest.mark.needs("alone")
@pytest.mark.emulated(executors=2)
@covers_newer("F-queue-008", "F-queue-009")
async def test_builds_wait_for_an_executor(replay):
    await create(replay, "c1")
    await create(replay, "slow")
    await running(replay, "c1")
    await running(replay, "slow")
    for number in (2, 3):
        await trigger(replay, "slow", number=number)
        items = await placeholders(replay, number - 1)
    for recorded, item in zip((17, 16), items, strict=True):
        replay.matches.same("item", recorded, item)
    await replay("F-queue-008")
    await replay("F-queue-009")
