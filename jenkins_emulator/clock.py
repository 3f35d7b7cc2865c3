"""The clock of the emulated Jenkins; with its own clock a test controls quiet periods and timeouts."""

import asyncio
import time
from collections.abc import Awaitable, Iterable
from typing import Protocol


class Clock(Protocol):
    """A clock, used from one event loop only; both methods use the same time."""

    def now(self) -> float:
        """Seconds since 1970 (UTC)."""

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` have passed on this clock; at once for zero or less."""


async def ended_within(clock: Clock, seconds: float, events: Iterable[Awaitable[object]]) -> bool:
    """Wait for all events, at most `seconds` of the clock; returns whether all ended. The others are cancelled."""
    tasks = [asyncio.ensure_future(event) for event in events]
    patience = asyncio.create_task(clock.sleep(seconds))
    pending = set(tasks)
    try:
        while pending and not patience.done():
            await asyncio.wait({*pending, patience}, return_when=asyncio.FIRST_COMPLETED)
            pending = {task for task in tasks if not task.done()}
    finally:
        for task in (*tasks, patience):
            task.cancel()
        await asyncio.gather(*tasks, patience, return_exceptions=True)
    return not pending


class SystemClock:
    """The machine's own time."""

    def now(self) -> float:
        """See Clock."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await asyncio.sleep(max(0.0, seconds))


class ManualClock:
    """A clock that stands still until a test advances it."""

    def __init__(self, start: float | None = None) -> None:
        self._now = time.time() if start is None else start
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        """See Clock."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        if seconds <= 0:
            return
        woken = asyncio.get_running_loop().create_future()
        sleeper = (self._now + seconds, woken)
        self._sleepers.append(sleeper)
        try:
            await woken
        finally:
            self._sleepers = [other for other in self._sleepers if other is not sleeper]

    def advance(self, seconds: float) -> None:
        """Advance by `seconds` and wake every sleep that is due."""
        self._now += seconds
        for due, woken in self._sleepers:
            if due <= self._now and not woken.done():
                woken.set_result(None)
