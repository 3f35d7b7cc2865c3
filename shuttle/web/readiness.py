"""Whether what we depend on can be reached, asked once a second however many probes there are."""

import asyncio
import math
from collections.abc import Awaitable

from shuttle.errors import ShuttleError
from shuttle.lifecycle import Ports
from shuttle.store.probe import prove_writable

OK = "ok"
_ASKED_EVERY_SECONDS = 1.0
_PATIENCE_SECONDS = 5.0


class Readiness:
    """An answer holds for a second; all who ask while it is awaited get the same. Used from one event loop."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._states: dict[str, str] = {}
        self._answered_at = -math.inf
        self._asking: asyncio.Task[None] | None = None

    async def states(self) -> dict[str, str]:
        """Of `database`, `object_store` and `jenkins`: OK, or one sentence that says what is wrong."""
        if self._asking is None and asyncio.get_running_loop().time() >= self._answered_at + _ASKED_EVERY_SECONDS:
            self._asking = asyncio.create_task(self._ask(), name="readiness")
        if self._asking is not None:
            await asyncio.shield(self._asking)
        return self._states

    async def _ask(self) -> None:
        ports = self._ports
        checks = {
            "database": ports.database.run(prove_writable),
            "object_store": ports.objects.check(),
            "jenkins": ports.jenkins.check(),
        }
        try:
            self._states = dict(zip(checks, await asyncio.gather(*map(_state, checks.values())), strict=True))
            self._answered_at = asyncio.get_running_loop().time()
        finally:
            self._asking = None


async def _state(check: Awaitable[None]) -> str:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await check
    except TimeoutError:
        return f"It did not answer within {_PATIENCE_SECONDS:g} seconds."
    except ShuttleError as error:
        return error.message
    return OK
