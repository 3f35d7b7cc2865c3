"""The lease: for some seconds after this process has raised its counter, no other replica takes its apps.

A task waits for the lease before it writes to a socket for an app. So a process that was suspended sends nothing before
it knows which apps it still owns.
"""

import asyncio
import time
from collections.abc import Callable


def boot_seconds() -> float:
    """The seconds since the machine was booted; unlike the monotonic clock, this counts a suspended machine's time."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """Used from one event loop. A lease without a limit (`valid_seconds` None) is always held."""

    def __init__(self, valid_seconds: float | None = None, clock: Callable[[], float] = boot_seconds) -> None:
        """`valid_seconds`: how long a renewal lasts; less than the time after which others take the apps."""
        self._valid_seconds = valid_seconds
        self._clock = clock
        self._began_at: float | None = None
        self._renewed = asyncio.Event()

    def now(self) -> float:
        """The time of the lease's clock, for `renew`."""
        return self._clock()

    def renew(self, began_at: float) -> None:
        """Record that the counter was raised; `began_at` is the time at which raising it began."""
        self._began_at = began_at
        self._renewed.set()

    @property
    def is_held(self) -> bool:
        """Whether this process may write to sockets."""
        if self._valid_seconds is None:
            return True
        return self._began_at is not None and self._clock() - self._began_at < self._valid_seconds

    async def held(self) -> None:
        """Return at once if the lease is held, else as soon as it is renewed."""
        while not self.is_held:
            self._renewed.clear()
            await self._renewed.wait()
