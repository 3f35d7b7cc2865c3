"""The budget of polls: rate, burst, order and fairness."""

import asyncio
from collections.abc import Awaitable

import pytest

from shuttle.jenkins.budget import PollBudget


class Timeline:
    """A simulated clock: sleepers wake in order, a hundred times faster than real time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1024.0
        monkeypatch.setattr("shuttle.jenkins.budget.asyncio.sleep", self.sleep)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> Awaitable[None]:
        woken = asyncio.get_running_loop().create_future()
        due = self.now + seconds

        def wake() -> None:
            self.now = max(self.now, due)
            woken.set_result(None)

        # The loop runs timers in the order of their times; a hundredth of the delays keeps that order.
        asyncio.get_running_loop().call_later(seconds / 100, wake)
        return woken


@pytest.fixture
def timeline(monkeypatch):
    return Timeline(monkeypatch)


async def take(budget: PollBudget, times: list[float], clock: Timeline) -> None:
    async with budget.poll():
        times.append(clock.now)


async def test_the_rate_holds_once_the_burst_is_used(timeline):
    budget = PollBudget(128, burst_seconds=0.125, clock=timeline)
    began, times = timeline.now, list[float]()
    for _ in range(16 + 128):
        await take(budget, times, timeline)
    assert times[16] == began  # sixteen polls of the burst, and one that is due now
    assert times[17] > began
    assert times[-1] - began == pytest.approx(127 / 128)


async def test_unused_budget_is_saved_up_to_the_burst(timeline):
    budget = PollBudget(8, burst_seconds=0.5, clock=timeline)
    timeline.now += 4096
    began, times = timeline.now, list[float]()
    for _ in range(10):
        await take(budget, times, timeline)
    assert [time for time in times if time == began] == [began] * 5
    assert times[-1] > began


async def test_the_rate_is_doubled_after_a_start(timeline):
    budget = PollBudget(128, burst_seconds=0, double_rate_seconds=2, clock=timeline)
    began, times = timeline.now, list[float]()
    for _ in range(2 * 2 * 128 + 128 + 1):
        await take(budget, times, timeline)
    assert times[2 * 2 * 128] - began == pytest.approx(2, abs=1 / 128)
    assert times[-1] - began == pytest.approx(3, abs=1 / 128)


async def test_polls_are_served_in_order_of_arrival(timeline):
    budget = PollBudget(1000, burst_seconds=0, concurrent=1, clock=timeline)
    served: list[int] = []

    async def ask(number: int) -> None:
        async with budget.poll():
            served.append(number)

    await asyncio.gather(*(ask(number) for number in range(20)))
    assert served == list(range(20))


async def test_builds_get_equal_shares(timeline):
    budget = PollBudget(1000, burst_seconds=0, concurrent=3, clock=timeline)
    polls = dict.fromkeys(range(5), 0)
    over = timeline.now + 0.5

    async def follow(number: int) -> None:
        while timeline.now < over:
            async with budget.poll():
                polls[number] += 1

    await asyncio.gather(*(follow(number) for number in polls))
    # A pause of the machine may favour the tasks that wake first, but a starved one would fall far behind.
    assert max(polls.values()) - min(polls.values()) <= 10
    assert sum(polls.values()) == pytest.approx(500, abs=10)


async def test_concurrent_polls_are_limited():
    budget = PollBudget(10_000, concurrent=2)
    inside, entered = asyncio.Event(), 0

    async def poll() -> None:
        nonlocal entered
        async with budget.poll():
            entered += 1
            await inside.wait()

    tasks = [asyncio.create_task(poll()) for _ in range(3)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert entered == 2
    inside.set()
    await asyncio.gather(*tasks)
    assert entered == 3


async def test_a_cancelled_waiter_releases_its_place():
    budget = PollBudget(10_000, concurrent=1)
    async with budget.poll():
        leaves = asyncio.create_task(budget.poll().__aenter__())
        await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.wait([leaves])
    async with asyncio.timeout(5), budget.poll():
        pass
