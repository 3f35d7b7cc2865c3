"""The load that the shuttle may put on one Jenkins: a budget of polls, and how often a build that is followed polls.

Measured on two cores, a controller answers 1,300 to 1,800 polls a second and is fastest with 10 to 50 at once.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Self

# A line that Jenkins shows reaches the sink within 60 ms at the median while a log flows.
QUICKEST_SECONDS = 0.05
SLOWEST_SECONDS = 2.0
# A log that has been silent for t seconds is looked at every t/8: its next line comes at most an eighth late.
PART_OF_SILENCE = 8


class PollBudget:
    """Polls per second of one controller, first come, first served.

    Whoever follows a build has one poll under way at a time, so "first come, first served" is fair between builds.
    `burst_seconds` is how much unused budget is kept for a sudden need; `concurrent` is how many polls may be under way
    at once, so that a Jenkins that hangs meets that many connections and no more. For `hurry_seconds` from its making
    on the rate is doubled: after a restart every running build has to be found again. Used from one event loop.
    """

    def __init__(
        self,
        polls_per_second: float = 200,
        *,
        burst_seconds: float = 1.0,
        concurrent: int = 50,
        hurry_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.polls_per_second = polls_per_second
        self._burst_seconds = burst_seconds
        self._clock = clock
        self._under_way = asyncio.Semaphore(concurrent)
        self._next_due = clock() - burst_seconds
        self._hurries_until = clock() + hurry_seconds
        self._demand_per_second = 0.0

    @asynccontextmanager
    async def poll(self) -> AsyncIterator[None]:
        """Wait for a turn, then hold one of the `concurrent` places."""
        async with self._under_way:
            await self._turn()
            yield

    async def _turn(self) -> None:
        # A token bucket written as the time of the next token: no refill task, and the waiters are served in order.
        now = self._clock()
        due = max(self._next_due, now - self._burst_seconds)
        self._next_due = due + 1 / (self.polls_per_second * (2 if now < self._hurries_until else 1))
        if due > now:
            await asyncio.sleep(due - now)

    @property
    def stretch(self) -> float:
        """By how much every pace is slowed down so that all of them together stay within the budget; 1 or more."""
        return max(1.0, self._demand_per_second / self.polls_per_second)

    def want(self, more_polls_per_second: float) -> None:
        """A pace tells how its wish changed."""
        self._demand_per_second = max(0.0, self._demand_per_second + more_polls_per_second)


class PollPace:
    """How often one build's log is polled: quick while it flows, slower the longer it is silent.

    Use it as a context manager, so that a build that is followed no longer stops counting:

        with PollPace(budget) as pace:
            ...
            await asyncio.sleep(pace.next_delay(received_bytes=size))
    """

    def __init__(
        self,
        budget: PollBudget,
        *,
        quickest_seconds: float = QUICKEST_SECONDS,
        slowest_seconds: float = SLOWEST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget = budget
        self._quickest_seconds = quickest_seconds
        self._slowest_seconds = max(slowest_seconds, quickest_seconds)
        self._clock = clock
        self._flowed_at = clock()
        self._wish_per_second = 0.0

    def __enter__(self) -> Self:
        self._flowed_at = self._clock()
        self._wish(1 / self._quickest_seconds)
        return self

    def __exit__(self, *_: object) -> None:
        self._wish(0.0)

    def next_delay(self, *, received_bytes: int) -> float:
        """Seconds until the next poll, told what the last one brought."""
        now = self._clock()
        if received_bytes:
            self._flowed_at = now
        silent_seconds = now - self._flowed_at
        interval = min(max(silent_seconds / PART_OF_SILENCE, self._quickest_seconds), self._slowest_seconds)
        self._wish(1 / interval)
        return interval * self._budget.stretch

    def _wish(self, polls_per_second: float) -> None:
        self._budget.want(polls_per_second - self._wish_per_second)
        self._wish_per_second = polls_per_second
