"""The dispatcher while apps are lost and calls are cancelled: nothing that it had read before is sent late."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shuttle.delivery import DueDelivery, dispatch
from shuttle.delivery.dispatch import MAX_PER_HOST
from shuttle.lease import Lease
from tests.support.memory_outbox import MemoryOutbox
from tests.support.receivers import Exchange
from tests.unit.delivery.dispatching import Running, dispatching
from tests.unit.delivery.status_receiver import StatusReceiver, answers, hangs, receiving

LEASE_SECONDS = 12
LOST = [f"lost-{number}" for number in range(3 * MAX_PER_HOST)]


class Gate:
    """A receiver's behaviour: it answers once `opened` is set."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def __call__(self, exchange: Exchange) -> None:
        await self.opened.wait()
        await exchange.answer()


@asynccontextmanager
async def full_host(lease_seconds: float | None = LEASE_SECONDS) -> AsyncIterator[tuple[Running, StatusReceiver, Gate]]:
    """A host to which 60 statuses of one app are due: 20 are under way, 40 are queued."""
    gate = Gate()
    async with receiving(gate) as receiver, dispatching(lease_seconds=lease_seconds) as running:
        for build in LOST:
            add(running, build, receiver, "lost")
        for build in LOST:
            running.outbox.emit(build)
        await receiver.until(MAX_PER_HOST)
        yield running, receiver, gate


def add(running: Running, build: str, receiver: StatusReceiver, app_id: str) -> None:
    running.outbox.add_receiver(build, f"{receiver.url}/{build}", receiver.url, app_id=app_id)


def lose_queued(running: Running, receiver: StatusReceiver) -> None:
    """Another replica sends what is not under way here."""
    under_way = {post.path.removeprefix("/") for post in receiver.posts}
    running.outbox.end_receivers(lambda build: build not in under_way)


async def until_sent(running: Running, receiver: StatusReceiver, build: str = "kept") -> list[str]:
    """Send the status of one more build, after which nothing is queued any more; returns all that was sent."""
    add(running, build, receiver, build)
    running.outbox.emit(build)
    await receiver.server.until(lambda: any(post.path == f"/{build}" for post in receiver.posts))
    return [post.path.removeprefix("/") for post in receiver.posts]


async def several_steps() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def no_slow_attempts(monkeypatch):
    monkeypatch.setattr(dispatch, "SLOW_AFTER_SECONDS", 3600)


async def test_queued_statuses_are_not_sent_after_a_suspension_in_which_their_app_was_taken():
    async with full_host() as (running, receiver, gate):
        running.time.advance(60)
        lose_queued(running, receiver)
        running.lease.renew(running.lease.now())
        gate.opened.set()
        assert len(await until_sent(running, receiver)) == MAX_PER_HOST + 1


async def test_queued_statuses_are_not_sent_after_others_waited_for_the_lease(monkeypatch):
    monkeypatch.setattr(dispatch, "_QUEUED_SECONDS", 3600)
    async with full_host() as (running, receiver, gate):
        running.time.advance(LEASE_SECONDS)
        gate.opened.set()
        await running.until_recorded(MAX_PER_HOST)
        await several_steps()
        lose_queued(running, receiver)
        running.lease.renew(running.lease.now())
        assert len(await until_sent(running, receiver)) == MAX_PER_HOST + 1


async def test_queued_call_is_not_made_after_the_notice_that_it_was_cancelled():
    async with full_host(lease_seconds=None) as (running, receiver, gate):
        lose_queued(running, receiver)
        running.dispatcher.wake(LOST[-1])
        gate.opened.set()
        assert len(await until_sent(running, receiver)) == MAX_PER_HOST + 1


async def test_queued_call_is_not_made_a_second_after_it_was_cancelled():
    async with full_host(lease_seconds=None) as (running, receiver, gate):
        lose_queued(running, receiver)
        running.time.advance(1)
        gate.opened.set()
        assert len(await until_sent(running, receiver)) == MAX_PER_HOST + 1


async def test_queued_statuses_of_a_released_app_are_not_sent_although_the_lease_is_held():
    async with full_host() as (running, receiver, gate):
        running.outbox.end_receivers(lambda build: build.startswith("lost"))
        running.dispatcher.drop("lost")
        gate.opened.set()
        assert len(await until_sent(running, receiver)) == MAX_PER_HOST + 1


async def test_status_under_way_of_a_lost_app_ends_and_leaves_its_connection_to_the_next(monkeypatch):
    monkeypatch.setattr(dispatch, "MAX_PER_HOST", 1)
    async with receiving(hangs) as receiver, dispatching() as running:
        add(running, "lost", receiver, "lost")
        running.outbox.emit("lost")
        await receiver.until(1)
        running.outbox.end_receivers(lambda build: build == "lost")
        running.dispatcher.drop("lost")
        assert await until_sent(running, receiver) == ["lost", "kept"]


async def test_status_under_way_of_another_app_continues():
    gate = Gate()
    async with receiving(gate) as receiver, dispatching() as running:
        add(running, "kept", receiver, "kept")
        running.outbox.emit("kept")
        await receiver.until(1)
        running.dispatcher.drop("lost")
        await several_steps()
        gate.opened.set()
        await running.until_recorded(1)
        assert len(receiver.posts) == 1


async def test_statuses_of_other_apps_on_the_host_are_sent_after_the_loss():
    async with full_host() as (running, receiver, gate):
        add(running, "kept-1", receiver, "kept")
        running.outbox.emit("kept-1")
        running.outbox.end_receivers(lambda build: build.startswith("lost"))
        running.dispatcher.drop("lost")
        gate.opened.set()
        await until_sent(running, receiver, "kept-1")


@pytest.mark.parametrize("lose", [lambda drop: drop(), lambda drop: asyncio.get_running_loop().call_soon(drop)])
async def test_statuses_that_were_read_before_a_loss_are_not_sent(monkeypatch, lose: Callable[[Any], None]):
    """The app is lost between the query and its answer, or before the first step of the attempt."""
    read = MemoryOutbox.due_deliveries

    async def losing(outbox: MemoryOutbox, **wanted: Any) -> list[DueDelivery]:
        due = await read(outbox, **wanted)
        if any(delivery.app_id == "lost" for delivery in due):
            outbox.end_receivers(lambda build: build == "lost")
            lose(lambda: running.dispatcher.drop("lost"))
        return due

    async with receiving(answers(200)) as receiver, dispatching() as running:
        monkeypatch.setattr(MemoryOutbox, "due_deliveries", losing)
        monkeypatch.setattr(dispatch, "MAX_PER_HOST", 1)
        add(running, "lost", receiver, "lost")
        running.outbox.emit("lost")
        await several_steps()
        assert await until_sent(running, receiver) == ["kept"]


async def test_next_member_of_a_failover_gets_nothing_while_the_lease_is_missing(monkeypatch):
    held, waits = Lease.held, asyncio.Event()

    async def noted(lease: Lease) -> None:
        waits.set()
        await held(lease)

    monkeypatch.setattr(Lease, "held", noted)
    async with receiving(hangs) as first, receiving(answers(200)) as second:

        async def ends_lease(exchange: Exchange) -> None:
            running.time.advance(LEASE_SECONDS)
            await exchange.answer(503)

        first.behave = ends_lease
        async with dispatching(lease_seconds=LEASE_SECONDS) as running:
            url = f"failover({first.url}, {second.url}/lost)"
            running.outbox.add_receiver("lost", url, url, app_id="lost")
            running.outbox.emit("lost")
            async with asyncio.timeout(5):
                await waits.wait()
            running.outbox.end_receivers(lambda build: build == "lost")
            running.lease.renew(running.lease.now())
            assert await until_sent(running, second) == ["kept"]
