"""Retries with backoff for one build. `waiting_for` shows the reason; a change of the build ends a wait early."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shuttle.build import Build
from shuttle.errors import JenkinsNotFoundError, UnavailableError
from shuttle.lifecycle import Services
from shuttle.store.transitions import record_waiting

Found = TypeVar("Found")

_FIRST_SECONDS = 0.25
_LONGEST_SECONDS = 10.0


class Backoff:
    """The waits of one build: 0.25 seconds at first, doubled each time up to 10 seconds."""

    def __init__(self, build_uuid: str, services: Services) -> None:
        self._build_uuid = build_uuid
        self._services = services
        self._shown: str | None = None
        self.next_seconds = _FIRST_SECONDS

    async def wait(self, why: str, *, at_least_seconds: float = 0) -> None:
        """Show `why` as the build's `waiting_for`, then wait; returns early if the build changes."""
        with self._services.signals.listen(self._build_uuid) as listener:
            if why != self._shown:
                self._shown = why
                await self._services.database.run(record_waiting, self._build_uuid, why)
            # Jitter: a thousand builds must not send their requests to a recovered Jenkins at the same instant.
            seconds = self.next_seconds * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
            await listener.wait(max(seconds, at_least_seconds))
        self.next_seconds = min(self.next_seconds * 2, _LONGEST_SECONDS)

    async def reset(self) -> None:
        """Call it after a success: clears `waiting_for`, and the next wait is the shortest again."""
        self.next_seconds = _FIRST_SECONDS
        if self._shown is not None:
            self._shown = None
            await self._services.database.run(record_waiting, self._build_uuid, None)


class NotFoundTimer:
    """Measures for how long a healthy Jenkins has answered "not found", or has shown a ghost."""

    def __init__(self, services: Services) -> None:
        self._settle_seconds = services.settings.shuttle_trigger_settle_seconds
        self._clock = asyncio.get_running_loop().time
        self._since: float | None = None

    def for_too_long(self) -> bool:
        """Call it after each such answer; True once they have lasted for SHUTTLE_TRIGGER_SETTLE_SECONDS."""
        now = self._clock()
        self._since = now if self._since is None else self._since
        return now - self._since >= self._settle_seconds

    def reset(self) -> None:
        """Call it after any other answer: the time starts again."""
        self._since = None


async def retry_jenkins(build: Build, services: Services, step: Callable[[], Awaitable[Found]]) -> Found:
    """Repeat `step` until it succeeds.

    Raises JenkinsNotFoundError once a healthy Jenkins has answered "not found" for SHUTTLE_TRIGGER_SETTLE_SECONDS.
    """
    backoff = Backoff(build.build_uuid, services)
    not_found = NotFoundTimer(services)
    while True:
        try:
            found = await step()
        except JenkinsNotFoundError as error:
            if not_found.for_too_long():
                raise
            await backoff.wait(f"Jenkins: {error.message}")
        except UnavailableError as error:
            not_found.reset()
            await backoff.wait(f"Jenkins: {error.message}")
        else:
            await backoff.reset()
            return found
