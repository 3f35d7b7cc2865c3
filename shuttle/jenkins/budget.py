"""Limits the polls of one Jenkins per second.

Measured on two cores, a controller answers 1,300 to 1,800 polls a second and is fastest with 10 to 50 concurrent ones.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class PollBudget:
    """A rate limit for the polls of one controller, in order of arrival. Used from one event loop.

    Each followed build has one poll under way at a time, so the order of arrival is fair between builds.
    `burst_seconds` is how much unused budget is saved for a burst. At most `concurrent` polls are under way at once,
    which also limits the connections to a Jenkins that hangs. For the first `double_rate_seconds` the rate is doubled:
    after a restart every running build has to be found again.
    """

    def __init__(
        self,
        polls_per_second: float = 200,
        *,
        burst_seconds: float = 1.0,
        concurrent: int = 50,
        double_rate_seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.polls_per_second = polls_per_second
        self._burst_seconds = burst_seconds
        self._clock = clock
        self._under_way = asyncio.Semaphore(concurrent)
        self._next_due = clock() - burst_seconds
        self._double_rate_until = clock() + double_rate_seconds

    @asynccontextmanager
    async def poll(self) -> AsyncIterator[None]:
        """Wait until a poll is allowed, and count it as under way until the block ends."""
        async with self._under_way:
            await self._wait_for_token()
            yield

    async def _wait_for_token(self) -> None:
        # A token bucket, stored as the time of the next token: no refill task, and waiters are served in order.
        now = self._clock()
        due = max(self._next_due, now - self._burst_seconds)
        self._next_due = due + 1 / (self.polls_per_second * (2 if now < self._double_rate_until else 1))
        if due > now:
            await asyncio.sleep(due - now)
