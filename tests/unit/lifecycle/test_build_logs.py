"""The logs of running builds: opened once, by a claim, and stopped with the first cause."""

import asyncio

import pytest

from shuttle.build import STOP_ENDINGS, State, StopCause
from shuttle.lifecycle.build_log import OVER
from shuttle.lifecycle.stop import stop_build
from shuttle.store.transitions import finish_build
from tests.unit.lifecycle.one_build import NUMBER, OneBuild


@pytest.mark.parametrize("state", [State.RECORDED, State.STAGING, "triggered", State.QUEUED])
async def test_unclaimed_build_has_no_log(one: OneBuild, state: State | str):
    await one.in_state(state)
    assert await one.services.logs.open(one.build_uuid) is None


async def test_ended_or_unknown_build_has_no_log(one: OneBuild):
    await one.running()
    await one.database.run(finish_build, one.build_uuid, STOP_ENDINGS[StopCause.STOPPED])
    for build_uuid in (one.build_uuid, "unknown"):
        assert await one.services.logs.open(build_uuid) is None


async def test_concurrent_calls_open_one_log(one: OneBuild):
    await one.running()
    opened = await asyncio.gather(*(one.services.logs.open(one.build_uuid) for _ in range(5)))
    assert len(set(map(id, opened))) == 1
    assert one.services.logs.open_count == 1


async def test_log_begins_with_the_recorded_preamble(one: OneBuild):
    await one.running()
    await one.services.logs.open(one.build_uuid)
    assert one.services.library.spool(one.build_uuid).written_bytes == len("-----> Source\n")


async def test_log_that_is_opened_later_knows_the_stop(one: OneBuild):
    await one.running()
    await stop_build(one.build_uuid, StopCause.TIMEOUT, one.services)
    build_log = await one.services.logs.open(one.build_uuid)
    assert build_log is not None
    assert build_log.stop_cause is StopCause.TIMEOUT


async def test_first_cause_is_sent_to_supervisors(one: OneBuild):
    await one.running()
    build_log = await one.services.logs.open(one.build_uuid)
    assert build_log is not None
    for cause in (StopCause.STOPPED, OVER):
        one.services.logs.stop(one.build_uuid, cause)
    assert build_log.stop_cause == StopCause.STOPPED


async def test_reports_of_supervisors_wake_the_flow_with_the_newest_claims(one: OneBuild):
    """A task that the transaction's own notice wakes may still see the old ones."""
    await one.queued(number=NUMBER)
    first = await one.claim()
    build_log = await one.services.logs.open(one.build_uuid)
    assert build_log is not None
    with one.services.signals.listen(one.build_uuid) as listener:
        await one.end(first, exit_status=3)
        assert await listener.wait(5)
    assert [claim.exit_status for claim in build_log.claims] == [3]


async def test_forgotten_log_is_not_open_any_more(one: OneBuild):
    await one.running()
    await one.services.logs.open(one.build_uuid)
    one.services.logs.forget(one.build_uuid)
    assert one.services.logs.find(one.build_uuid) is None
    assert one.services.logs.open_count == 0
