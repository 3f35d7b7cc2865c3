"""The load that the shuttle may put on one Jenkins: a budget of polls.

Measured on two cores, a controller answers 1,300 to 1,800 polls a second and is fastest with 10 to 50 at once.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


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
