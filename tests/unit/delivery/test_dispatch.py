"""The dispatcher: what is delivered when, and what harms what."""

import asyncio
from typing import Any

import pytest

from shuttle.delivery import Attempt, DueDelivery, dispatch
from shuttle.delivery.deliver import StatusDelivery
from shuttle.delivery.dispatch import MAX_PER_HOST
from tests.memory_outbox import MemoryOutbox
from tests.receivers import Exchange
from tests.unit.delivery.dispatching import Running, dispatching
from tests.unit.delivery.status_receiver import StatusReceiver, answers, hangs, receiving, resets


def sequences(receiver: StatusReceiver) -> list[bytes]:
    return [post.body.partition(b'"sequence":')[2].strip(b"}") for post in receiver.senders]


async def test_delivers_in_order_with_one_id_for_all_receivers():
    async with receiving(answers(200)) as a, receiving(answers(204)) as b, dispatching() as running:
        running.add("one", a)
        running.add("one", b)
        ids = [running.outbox.emit("one") for _ in range(3)]
        await running.until_recorded(6)
    assert sequences(a) == sequences(b) == [b"1", b"2", b"3"]
    assert (
        [post.headers["webhook-id"] for post in a.senders] == ids == [post.headers["webhook-id"] for post in b.senders]
    )
    assert set(running.outcomes) == {"delivered"}


async def test_tries_again_by_the_schedule_with_the_same_id_and_a_row_each():
    async with receiving(answers(500, 503, 200)) as receiver, dispatching() as running:
        running.add("one", receiver)
        running.outbox.emit("one")
        timestamps = []
        for count, pause in ((1, 5), (2, 15)):
            await running.until_recorded(count)
            await running.time.until_someone_sleeps()
            (wait,) = running.time.waits()
            assert pause <= wait <= pause * 1.1
            timestamps.append(receiver.senders[-1].headers["webhook-timestamp"])
            running.time.advance(pause - 0.01)
            assert len(receiver.senders) == count
            running.time.advance(pause)
        await running.until_recorded(3)
    assert running.outcomes == ["failed", "failed", "delivered"]
    assert len({post.headers["webhook-id"] for post in receiver.senders}) == 1
    assert len({*timestamps, receiver.senders[-1].headers["webhook-timestamp"]}) == 3


async def test_a_new_event_does_not_wait_for_the_pause_of_the_old_one():
    async with receiving(answers(500, 200)) as receiver, dispatching() as running:
        running.add("one", receiver)
        running.outbox.emit("one")
        await running.until_recorded(1)
        await running.time.until_someone_sleeps()
        running.outbox.emit("one")
        await running.until_recorded(3)
    assert sequences(receiver) == [b"1", b"1", b"2"]


async def test_a_receiver_that_is_down_for_an_hour_hears_everything_in_order():
    async with receiving(resets) as receiver, dispatching() as running:
        began_at = running.time.clock.steady()
        running.add("one", receiver)
        for _ in range(3):  # the last one is the final status
            running.outbox.emit("one")
        await running.until_recorded(1)
        while (running.time.clock.steady() - began_at).total_seconds() < 3600:
            await next_try(running)
        assert set(running.outcomes) == {"failed"}
        receiver.behave = answers(200)
        tries = len(running.outcomes)
        await next_try(running)
        await running.until_recorded(tries + 3)
    assert running.outcomes[tries:] == ["delivered"] * 3
    assert sequences(receiver)[tries:] == [b"1", b"2", b"3"]
    assert set(sequences(receiver)[:tries]) == {b"1"}  # nothing overtook it


async def next_try(running: Running) -> None:
    """Let the clock go on to when the dispatcher tries again, and wait for what comes of it."""
    tries = len(running.outcomes)
    await running.time.until_someone_sleeps()
    running.time.advance(max(running.time.waits()))
    await running.until_recorded(tries + 1)


async def test_gives_up_at_the_end_of_the_schedule_and_on_410():
    short = dispatching(SHUTTLE_WEBHOOK_SCHEDULE_SECONDS="0,0")
    async with receiving(answers(500)) as bad, receiving(answers(410)) as gone, short as running:
        running.add("one", bad)
        running.add("two", gone)
        for build in ("one", "two", "one", "two"):
            running.outbox.emit(build)
        await running.until_recorded(5)
        running.outbox.emit("two")
    assert sorted(running.outcomes) == ["failed", "failed", "gave_up", "gave_up", "gone"]
    assert (sequences(bad), len(gone.senders)) == ([b"1", b"1", b"2", b"2"], 1)


async def test_a_hung_host_fills_only_its_own_places(monkeypatch):
    monkeypatch.setattr(dispatch, "SLOW_AFTER_SECONDS", 3600)
    builds = [f"build-{number}" for number in range(MAX_PER_HOST + 10)]
    async with receiving(hangs) as hung, receiving(answers(200)) as well, dispatching() as running:
        for build in builds:
            running.add(build, hung)
            running.add(build, well)
        for build in builds:
            running.outbox.emit(build)
        await asyncio.gather(well.until(len(builds)), hung.until(MAX_PER_HOST))
        await running.until_recorded(len(builds))
        running.outbox.emit(builds[0])
        await well.until(len(builds) + 1)
        assert len(hung.senders) == MAX_PER_HOST
        assert len({post.path for post in hung.senders}) == MAX_PER_HOST


async def some_hang(exchange: Exchange) -> None:
    await (exchange.answer() if "well" in exchange.target else hangs(exchange))


async def test_hooks_that_hang_hold_up_no_other_of_their_host(monkeypatch):
    monkeypatch.setattr(dispatch, "SLOW_AFTER_SECONDS", 0.01)
    async with receiving(some_hang) as receiver, dispatching() as running:
        for build in [f"hangs-{number}" for number in range(2 * MAX_PER_HOST)] + ["well"]:
            running.add(build, receiver)
            running.outbox.emit(build)
        await running.until_recorded(1)
        running.outbox.emit("well")
        await running.until_recorded(2)
    assert running.outcomes == ["delivered"] * 2


async def test_a_host_that_hangs_whole_takes_no_more_than_its_share(monkeypatch):
    monkeypatch.setattr(dispatch, "SLOW_AFTER_SECONDS", 0.01)
    monkeypatch.setattr(dispatch, "MAX_SLOW_PER_HOST", 5)
    share = MAX_PER_HOST + 5
    async with receiving(some_hang) as receiver, receiving(answers(200)) as other, dispatching() as running:
        for number in range(share):
            running.add(f"hangs-{number}", receiver)
            running.outbox.emit(f"hangs-{number}")
        await receiver.until(share)
        for build, where in (("too-many", receiver), ("other", other)):
            running.add(build, where)
            running.outbox.emit(build)
        await running.until_recorded(1)
        running.outbox.emit("other")
        await running.until_recorded(2)
        assert len(receiver.senders) == share


async def test_a_place_that_becomes_free_is_given_to_the_next(monkeypatch):
    monkeypatch.setattr(dispatch, "MAX_PER_HOST", 1)
    under_way = 0

    async def one_at_a_time(exchange: Exchange) -> None:
        nonlocal under_way
        under_way += 1
        assert under_way == 1
        await asyncio.sleep(0.001)
        under_way -= 1
        await exchange.answer()

    async with receiving(one_at_a_time) as receiver, dispatching() as running:
        for number in range(5):
            running.add(f"build-{number}", receiver)
            running.outbox.emit(f"build-{number}")
        await running.until_recorded(5)
    assert running.outcomes == ["delivered"] * 5


async def test_a_long_line_at_one_host_costs_few_looks_at_the_outbox():
    async with receiving(answers(200)) as receiver, dispatching() as running:
        for number in range(90):
            running.add(f"build-{number}", receiver)
        for number in range(90):
            running.outbox.emit(f"build-{number}")
        await running.until_recorded(90)
    assert len({post.path for post in receiver.senders}) == len(receiver.senders) == 90
    assert running.outbox.calls < 90 + 60


async def test_all_places_taken_means_waiting_for_one(monkeypatch):
    monkeypatch.setattr(dispatch, "MAX_AT_ONCE", 2)
    answer = asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        await answer.wait()
        await exchange.answer()

    async with receiving(waits) as slow, receiving(answers(200)) as well, dispatching() as running:
        for build in ("slow-1", "slow-2"):
            running.add(build, slow)
            running.outbox.emit(build)
        await slow.until(2)
        running.add("well", well)
        running.outbox.emit("well")
        for _ in range(20):
            await asyncio.sleep(0)
        assert well.senders == []
        answer.set()
        await well.until(1)


async def test_nothing_is_asked_while_nothing_happens():
    async with receiving(answers(500)) as receiver, dispatching() as running:
        running.add("one", receiver)
        running.outbox.emit("one")
        await running.until_recorded(1)
        await running.time.until_someone_sleeps()
        calls = running.outbox.calls
        running.time.advance(4)
        for _ in range(20):
            await asyncio.sleep(0)
        assert running.outbox.calls == calls


async def test_shutdown_is_quick_and_the_next_start_tries_again_with_the_same_id():
    async with receiving(hangs) as receiver:
        async with dispatching() as running:
            running.add("one", receiver)
            webhook_id = running.outbox.emit("one")
            await receiver.until(1)
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 8
        assert running.outbox.attempts == []
        receiver.behave = answers(200)
        async with dispatching(running.outbox) as again:
            await again.until_recorded(1)
    assert [post.headers["webhook-id"] for post in receiver.senders] == [webhook_id, webhook_id]


async def test_shutdown_lets_a_quick_answer_be_recorded():
    answer = asyncio.Event()

    async def waits(exchange: Exchange) -> None:
        await answer.wait()
        await exchange.answer()

    async with receiving(waits) as receiver, dispatching(SHUTTLE_SHUTDOWN_SECONDS="8") as running:
        running.add("one", receiver)
        running.outbox.emit("one")
        await receiver.until(1)
        running.task.cancel()
        asyncio.get_running_loop().call_soon(answer.set)
        await running.until_recorded(1)
    assert running.outcomes == ["delivered"]


async def test_a_database_that_is_away_doubles_nothing():
    async with receiving(answers(200)) as receiver, dispatching() as running:
        running.add("one", receiver)

        async def goes_away(exchange: Exchange) -> None:
            running.outbox.broken = True
            await exchange.answer()

        receiver.behave = goes_away
        running.outbox.emit("one")
        await receiver.until(1)
        await running.time.until_someone_sleeps()
        assert running.outbox.attempts == []
        running.outbox.broken = False
        running.time.advance(60)
        await running.until_recorded(1)
        running.outbox.emit("one")
        receiver.behave = answers(200)
        await running.until_recorded(2)
    assert sequences(receiver) == [b"1", b"2"]


async def test_a_fault_of_ours_is_met_with_a_pause_and_not_with_a_storm(monkeypatch):
    deliver, faults = StatusDelivery.attempt, 0

    async def faulty(status_delivery: StatusDelivery, delivery: DueDelivery) -> Attempt:
        nonlocal faults
        if delivery.build_uuid == "one" and faults == 0:
            faults += 1
            raise RuntimeError
        return await deliver(status_delivery, delivery)

    monkeypatch.setattr(StatusDelivery, "attempt", faulty)
    async with receiving(answers(200)) as receiver, dispatching() as running:
        running.add("one", receiver)
        running.add("two", receiver)
        running.outbox.emit("one")
        await running.time.until_someone_sleeps()
        running.outbox.emit("two")
        await running.until_recorded(1)
        assert [post.path for post in receiver.senders] == ["/two"]
        running.time.advance(60)
        await running.until_recorded(2)
    assert [post.path for post in receiver.senders] == ["/two", "/one"]


async def test_a_fault_of_the_outbox_does_not_end_the_dispatcher(monkeypatch):
    due_deliveries, faults = MemoryOutbox.due_deliveries, 0

    async def faulty(outbox: MemoryOutbox, **wanted: Any) -> list[DueDelivery]:
        nonlocal faults
        faults += 1
        if faults == 1:
            raise RuntimeError
        return await due_deliveries(outbox, **wanted)

    monkeypatch.setattr(MemoryOutbox, "due_deliveries", faulty)
    async with receiving(answers(200)) as receiver, dispatching() as running:
        await running.time.until_someone_sleeps()
        running.add("one", receiver)
        running.outbox.emit("one")
        running.time.advance(60)
        await running.until_recorded(1)
    assert running.outcomes == ["delivered"]


@pytest.mark.parametrize("behave", [resets, answers(302), answers(401)])
async def test_one_receivers_trouble_is_no_others(behave):
    async with receiving(behave) as bad, receiving(answers(200)) as good, dispatching() as running:
        running.add("one", bad)
        running.add("one", good)
        for _ in range(3):
            running.outbox.emit("one")
        await good.until(3)
    assert sequences(good) == [b"1", b"2", b"3"]
