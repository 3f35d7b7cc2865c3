"""The lease: what may be sent in the name of an app while other replicas could have taken it."""

import asyncio

import pytest

from shuttle.lease import Lease


class Uptime:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def uptime() -> Uptime:
    return Uptime()


def test_a_lease_without_a_limit_is_always_held():
    assert Lease().is_held


def test_a_new_lease_is_not_held(uptime: Uptime):
    assert not Lease(12, uptime).is_held


@pytest.mark.parametrize(("passed", "held"), [(0.0, True), (11.9, True), (12.0, False), (3600.0, False)])
def test_a_lease_ends_some_time_after_its_renewal_was_begun(passed: float, held: bool, uptime: Uptime):
    lease = Lease(12, uptime)
    lease.renew(lease.now())
    uptime.seconds += passed
    assert lease.is_held is held


def test_a_renewal_counts_from_its_beginning(uptime: Uptime):
    """The answer of the database took 13 s, or the process was stopped meanwhile."""
    lease = Lease(12, uptime)
    began_at = lease.now()
    uptime.seconds += 13
    lease.renew(began_at)
    assert not lease.is_held


async def test_a_task_waits_for_the_next_renewal(uptime: Uptime):
    lease = Lease(12, uptime)
    waiting = asyncio.ensure_future(lease.held())
    await asyncio.sleep(0)
    assert not waiting.done()
    lease.renew(lease.now() - 20)
    await asyncio.sleep(0)
    assert not waiting.done()
    lease.renew(lease.now())
    await asyncio.wait_for(waiting, 10)


async def test_a_task_that_is_cancelled_before_the_renewal_does_not_continue(uptime: Uptime):
    """Its app was taken: the membership ends the tasks of lost apps, then renews the lease."""
    lease, went_on = Lease(12, uptime), False

    async def send() -> None:
        nonlocal went_on
        await lease.held()
        went_on = True

    sending = asyncio.ensure_future(send())
    await asyncio.sleep(0)
    sending.cancel()
    lease.renew(lease.now())
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert not went_on
