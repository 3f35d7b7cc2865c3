"""The dispatcher: when deliveries are attempted, and how they affect each other."""

import asyncio
from typing import Any

import pytest

from shuttle.delivery import Attempt, DueDelivery, dispatch
from shuttle.delivery.deliver import StatusDelivery
from shuttle.delivery.dispatch import MAX_PER_HOST
from tests.support.memory_outbox import MemoryOutbox
from tests.support.receivers import Exchange
from tests.unit.delivery.dispatching import Running, dispatching
from tests.unit.delivery.status_receiver import StatusReceiver, answers, hangs, receiving, resets


def sequences(receiver: StatusReceiver) -> list[bytes]:
    return [post.body.partition(b'"sequence":')[2].strip(b"}") for post in receiver.posts]


async def test_events_arrive_in_order_with_one_id_for_all_receivers():
    async with receiving(answers(200)) as a, receiving(answers(204)) as b, dispatching() as running:
        running.add("one", a)
        running.add("one", b)
        ids = [running.outbox.emit("one") for _ in range(3)]
        await running.until_recorded(6)
    assert sequences(a) == sequences(b) == [b"1", b"2", b"3"]
    assert [post.headers["webhook-id"] for post in a.posts] == ids == [post.headers["webhook-id"] for post in b.posts]
    assert set(running.outcomes) == {"delivered"}


async def test_failed_delivery_is_retried_on_schedule_with_the_same_id_and_a_row_each():
    async with receiving(answers(500, 503, 200)) as receiver, dispatching() as running:
        running.add("one", receiver)
        running.outbox.emit("one")
        timestamps = []
        for count, pause in ((1, 5), (2, 15)):
            await running.until_recorded(count)
            await running.time.until_asleep()
            (wait,) = running.time.waits()
            assert pause <= wait <= pause * 1.1
            timestamps.append(receiver.posts[-1].headers["webhook-timestamp"])
            running.time.advance(pause - 0.01)
            assert len(receiver.posts) == count
            running.time.advance(pause)
        await running.until_recorded(3)
    assert running.outcomes == ["failed", "failed", "delivered"]
    assert len({post.headers["webhook-id"] for post in receiver.posts}) == 1
    assert len({*timestamps, receiver.posts[-1].headers["webhook-timestamp"]}) == 3


async def test_new_event_ends_the_retry_delay_of_the_previous_one():
    async with receiving(answers(500, 200)) as receiver, dispatching() as running:
        running.add("one", receiver)
        running.outbox.emit("one")
        await running.until_recorded(1)
        await running.time.until_asleep()
        running.outbox.emit("one")
        await running.until_recorded(3)
    assert sequences(receiver) == [b"1", b"1", b"2"]


async def test_receiver_that_was_down_for_an_hour_gets_all_events_in_order():
    async with receiving(resets) as receiver, dispatching() as running:
        began_at = running.time.clock.steady()
        running.add("one", receiver)
        for _ in range(3):  # the last one is the final status
            running.outbox.emit("one")
        await running.until_recorded(1)
        while (running.time.clock.steady() - began_at).total_seconds() < 3600:
            await next_attempt(running)
        assert set(running.outcomes) == {"failed"}
        receiver.behave = answers(200)
        tries = len(running.outcomes)
        await next_attempt(running)
        await running.until_recorded(tries + 3)
    assert running.outcomes[tries:] == ["delivered"] * 3
    assert sequences(receiver)[tries:] == [b"1", b"2", b"3"]
    assert set(sequences(receiver)[:tries]) == {b"1"}  # nothing overtook it


async def next_attempt(running: Running) -> None:
    """Advance the clock to the dispatcher's next attempt, and wait for its outcome."""
    tries = len(running.outcomes)
    await running.time.until_asleep()
    running.time.advance(max(running.time.waits()))
    await running.until_recorded(tries + 1)


async def test_delivery_ends_with_the_schedule_or_a_410():
    short = dispatching(SHUTTLE_WEBHOOK_SCHEDULE_SECONDS="0,0")
    async with receiving(answers(500)) as bad, receiving(answers(410)) as gone, short as running:
        running.add("one", bad)
        running.add("two", gone)
        for build in ("one", "two", "one", "two"):
            running.outbox.emit(build)
        await running.until_recorded(5)
        running.outbox.emit("two")
    assert sorted(running.outcomes) == ["failed", "failed", "gave_up", "gave_up", "gone"]
    assert (sequences(bad), len(gone.posts)) == ([b"1", b"1", b"2", b"2"], 1)


async def test_hung_host_uses_only_its_own_connections(monkeypatch):
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
        assert len(hung.posts) == MAX_PER_HOST
        assert len({post.path for post in hung.posts}) == MAX_PER_HOST


async def some_hang(exchange: Exchange) -> None:
    await (exchange.answer() if "well" in exchange.target else hangs(exchange))


async def test_hung_hooks_do_not_delay_others_of_the_same_host(monkeypatch):
    monkeypatch.setattr(dispatch, "SLOW_AFTER_SECONDS", 0.01)
    async with receiving(some_hang) as receiver, dispatching() as running:
        for build in [f"hangs-{number}" for number in range(2 * MAX_PER_HOST)] + ["well"]:
            running.add(build, receiver)
            running.outbox.emit(build)
        await running.until_recorded(1)
        running.outbox.emit("well")
        await running.until_recorded(2)
    assert running.outcomes == ["delivered"] * 2


async def test_hung_host_has_a_limited_number_of_slow_connections(monkeypatch):
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
        assert len(receiver.posts) == share


async def test_free_connection_is_given_to_the_next_delivery_of_the_host(monkeypatch):
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


async def test_long_queue_for_one_host_needs_few_queries_of_the_outbox():
    async with receiving(answers(200)) as receiver, dispatching() as running:
        for number in range(90):
            running.add(f"build-{number}", receiver)
        for number in range(90):
            running.outbox.emit(f"build-{number}")
        await running.until_recorded(90)
    assert len({post.path for post in receiver.posts}) == len(receiver.posts) == 90
    assert running.outbox.calls < 90 + 60


async def test_delivery_waits_while_all_connections_are_in_use(monkeypatch):
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
        assert well.posts == []
        answer.set()
        await well.until(1)


async def test_outbox_is_not_queried_while_nothing_is_due():
    async with receiving(answers(500)) as receiver, dispatching() as running:
        running.add("one", receiver)
        running.outbox.emit("one")
        await running.until_recorded(1)
        await running.time.until_asleep()
        calls = running.outbox.calls
        running.time.advance(4)
        for _ in range(20):
            await asyncio.sleep(0)
        assert running.outbox.calls == calls


async def test_shutdown_is_quick_and_the_next_start_retries_with_the_same_id():
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
    assert [post.headers["webhook-id"] for post in receiver.posts] == [webhook_id, webhook_id]


async def test_shutdown_waits_for_a_quick_answer_and_records_it():
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


async def test_unavailable_database_causes_no_duplicate_delivery():
    async with receiving(answers(200)) as receiver, dispatching() as running:
        running.add("one", receiver)

        async def breaks_database(exchange: Exchange) -> None:
            running.outbox.broken = True
            await exchange.answer()

        receiver.behave = breaks_database
        running.outbox.emit("one")
        await receiver.until(1)
        await running.time.until_asleep()
        assert running.outbox.attempts == []
        running.outbox.broken = False
        running.time.advance(60)
        await running.until_recorded(1)
        running.outbox.emit("one")
        receiver.behave = answers(200)
        await running.until_recorded(2)
    assert sequences(receiver) == [b"1", b"2"]


async def test_internal_error_in_a_delivery_is_retried_after_a_pause(monkeypatch):
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
        await running.time.until_asleep()
        running.outbox.emit("two")
        await running.until_recorded(1)
        assert [post.path for post in receiver.posts] == ["/two"]
        running.time.advance(60)
        await running.until_recorded(2)
    assert [post.path for post in receiver.posts] == ["/two", "/one"]


async def test_internal_error_of_the_outbox_does_not_end_the_dispatcher(monkeypatch):
    due_deliveries, faults = MemoryOutbox.due_deliveries, 0

    async def faulty(outbox: MemoryOutbox, **wanted: Any) -> list[DueDelivery]:
        nonlocal faults
        faults += 1
        if faults == 1:
            raise RuntimeError
        return await due_deliveries(outbox, **wanted)

    monkeypatch.setattr(MemoryOutbox, "due_deliveries", faulty)
    async with receiving(answers(200)) as receiver, dispatching() as running:
        await running.time.until_asleep()
        running.add("one", receiver)
        running.outbox.emit("one")
        running.time.advance(60)
        await running.until_recorded(1)
    assert running.outcomes == ["delivered"]


@pytest.mark.parametrize("behave", [resets, answers(302), answers(401)])
async def test_failing_receiver_does_not_affect_another(behave):
    async with receiving(behave) as bad, receiving(answers(200)) as good, dispatching() as running:
        running.add("one", bad)
        running.add("one", good)
        for _ in range(3):
            running.outbox.emit("one")
        await good.until(3)
    assert sequences(good) == [b"1", b"2", b"3"]
