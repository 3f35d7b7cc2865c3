"""The time that a step of a build may take, without its waits for other builds."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta

from shuttle.clock import Clock


class TimeLimit:
    """When a step gives up, in steady time. It moves on while the step waits for a place that other builds have."""

    def __init__(self, ends_at: datetime, clock: Clock) -> None:
        self._ends_at = ends_at
        self._clock = clock

    @classmethod
    def of(cls, seconds: float, clock: Clock) -> "TimeLimit":
        """The limit that ends in so many seconds."""
        return cls(clock.steady() + timedelta(seconds=seconds), clock)

    @property
    def left_seconds(self) -> float:
        """Negative once the time has passed."""
        return (self._ends_at - self._clock.steady()).total_seconds()

    @asynccontextmanager
    async def in_place(self, place: AbstractAsyncContextManager[object]) -> AsyncIterator[None]:
        """Hold the place; the wait for it does not count."""
        waits_since = self._clock.steady()
        async with place:
            self._ends_at += self._clock.steady() - waits_since
            yield
