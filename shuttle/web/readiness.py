"""Whether this replica can answer, and whether what it depends on can be reached; checked at most once a second."""

import asyncio
import math
from collections.abc import Awaitable, Mapping

from shuttle.errors import ShuttleError
from shuttle.lifecycle import Services
from shuttle.store.probe import clock_difference_seconds, prove_writable
from shuttle.store.tx import Tx

OK = "ok"
_NOT_CHECKED = "not checked yet"
_CACHE_SECONDS = 1.0
# Receivers refuse signatures that are older than some minutes, and people compare the times of several replicas.
_CLOCK_SECONDS = 30.0
CHECK_TIMEOUT_SECONDS = 5.0


class Readiness:
    """Caches the states for a second; callers that come during a check share its result. Used from one event loop."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._states = dict.fromkeys(("database", "object_store", "clock", "jenkins"), _NOT_CHECKED)
        self.controllers: dict[str, str] = {}
        self._clock_seconds = 0.0
        self._checked_at = -math.inf
        self._checking: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    def drain(self) -> None:
        """From now on this replica is not ready: it is being stopped. Waiting callers are answered at once."""
        self._stopping.set()

    @property
    def draining(self) -> bool:
        """Whether this replica is being stopped."""
        return self._stopping.is_set()

    @property
    def why_not(self) -> str | None:
        """Why this replica should get no requests, apart from the database; None = it can answer them."""
        if self.draining:
            return "This replica is being stopped."
        if not self._services.lease.is_held:
            return "This replica could not renew its lease in time; check the database."
        return None

    async def states(self) -> dict[str, str]:
        """The states of `database`, `object_store`, `clock` and `jenkins`: OK, or one sentence that says what is wrong.

        `jenkins` is that of all controllers; `controllers` has each of them afterwards. While this replica is being
        stopped, they are those of the last check: a balancer has to know within SHUTTLE_DRAIN_SECONDS.
        """
        if self.draining:
            return self._states
        if self._checking is None and asyncio.get_running_loop().time() >= self._checked_at + _CACHE_SECONDS:
            self._checking = asyncio.create_task(self._check(), name="readiness")
        if self._checking is not None:
            await self._checked_or_stopping(self._checking)
        return self._states

    async def _checked_or_stopping(self, checking: asyncio.Task[None]) -> None:
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({checking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if checking.done():
            checking.result()

    async def _check(self) -> None:
        services = self._services
        names = list(services.controllers)
        checks = (services.controllers.of(name).check() for name in names)
        try:
            database, objects, *controllers = await asyncio.gather(
                *map(_state, (self._check_database(), services.objects.check(), *checks))
            )
            clock = database if database != OK else _clock_state(self._clock_seconds)
            self.controllers = dict(zip(names, controllers, strict=True))
            jenkins = _of_all(self.controllers)
            self._states = {"database": database, "object_store": objects, "clock": clock, "jenkins": jenkins}
            self._checked_at = asyncio.get_running_loop().time()
        finally:
            self._checking = None

    async def _check_database(self) -> None:
        self._clock_seconds = await self._services.database.run(_probe)


def _probe(tx: Tx) -> float:
    """One transaction for both questions, because anybody may ask once a second."""
    prove_writable(tx)
    return clock_difference_seconds(tx)


def _clock_state(seconds: float) -> str:
    """OK, or how far the clocks differ: times in answers, expiries and signatures are by the replica's own clock."""
    if abs(seconds) <= _CLOCK_SECONDS:
        return OK
    return f"Its clock and that of PostgreSQL differ by {abs(seconds):.0f} s; synchronize both."


def _of_all(controllers: Mapping[str, str]) -> str:
    """OK, or what is wrong: the sentence of the only controller, or those of several with their names."""
    wrong = {name: state for name, state in controllers.items() if state != OK}
    if len(controllers) == 1:
        return next(iter(controllers.values()))
    return " ".join(f"{name}: {state}" for name, state in wrong.items()) or OK


async def _state(check: Awaitable[None]) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await check
    except TimeoutError:
        return f"It did not answer within {CHECK_TIMEOUT_SECONDS:g} seconds."
    except ShuttleError as error:
        return error.message
    return OK
