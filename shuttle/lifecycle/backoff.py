"""Retries with backoff for one build. `waiting_for` shows the reason; a change of the build ends a wait early."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from shuttle.errors import RetryLaterError, ShuttleError, StoreError, UnavailableError
from shuttle.lifecycle import Services
from shuttle.lifecycle.missing_permissions import MissingPermissions
from shuttle.lifecycle.time_limit import TimeLimit
from shuttle.store.transitions import record_waiting

log = structlog.get_logger()

_Result = TypeVar("_Result")

_FIRST_SECONDS = 0.25
_LONGEST_SECONDS = 10.0
_LONGEST_RETRY_AFTER_SECONDS = 60.0
_DATABASE_PAUSE_SECONDS = 1.0


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


class Backoff:
    """The waits of one build: 0.25 seconds at first, doubled each time up to 10 seconds.

    Each wait resets `timers`: they measure an uninterrupted time of healthy answers.
    """

    def __init__(self, build_uuid: str, services: Services, timers: Sequence[NotFoundTimer] = ()) -> None:
        self._build_uuid = build_uuid
        self._services = services
        self._timers = timers
        self._shown: str | None = None
        self.missing = MissingPermissions(build_uuid)
        self._next_seconds = _FIRST_SECONDS

    async def until(
        self,
        step: Callable[[], Awaitable[_Result]],
        who: str,
        *,
        errors: type[ShuttleError] = UnavailableError,
        limit: TimeLimit | None = None,
    ) -> _Result:
        """Repeat `step` until it succeeds, with a wait after each of `errors`; `who` is the service that failed.

        A change of the build ends a wait, not the repetition: `step` reads the row itself if the change matters to it.

        If the next try would begin after the `limit`, the error of the last one is raised. An error that is
        not one of `errors` is raised at once.
        """
        while True:
            try:
                result = await step()
            except errors as error:
                left_seconds = math.inf if limit is None else limit.left_seconds
                if left_seconds <= self._next_seconds:
                    raise
                self.missing.log(error)
                await self.wait(
                    f"{who}: {error.message}", at_least_seconds=_requested_pause_seconds(error, left_seconds)
                )
            else:
                await self.reset()
                return result

    async def wait(self, why: str, *, at_least_seconds: float = 0) -> None:
        """Show `why` as the build's `waiting_for`, then wait; returns early if the build changes."""
        for timer in self._timers:
            timer.reset()
        with self._services.signals.listen(self._build_uuid) as listener:
            if why != self._shown:
                self._shown = why
                await self._services.database.run(record_waiting, self._build_uuid, why)
            # Jitter: a thousand builds must not send their requests to a recovered Jenkins at the same instant.
            seconds = self._next_seconds * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret
            await listener.wait(max(seconds, at_least_seconds))
        self._next_seconds = min(self._next_seconds * 2, _LONGEST_SECONDS)

    async def reset(self) -> None:
        """Call it after a success: clears `waiting_for`, and the next wait is the shortest again."""
        self._next_seconds = _FIRST_SECONDS
        if self._shown is not None:
            self._shown = None
            await self._services.database.run(record_waiting, self._build_uuid, None)


def _requested_pause_seconds(error: ShuttleError, left_seconds: float) -> float:
    """The pause of the host's Retry-After, at most 60 s and half of the time left: a retry needs time, too."""
    if not isinstance(error, RetryLaterError):
        return 0.0
    return min(error.after_seconds, _LONGEST_RETRY_AFTER_SECONDS, left_seconds / 2)


async def retry_database(query: Callable[[], Awaitable[_Result]]) -> _Result:
    """Repeat `query` until the database answers: a task that gave up would be started again only at a restart.

    Unlike a `Backoff` it does not show `waiting_for`, because that is written to the database.
    """
    while True:
        try:
            return await query()
        except StoreError as error:
            log.warning("the database is unavailable", error=error.message)
            await asyncio.sleep(_DATABASE_PAUSE_SECONDS)
