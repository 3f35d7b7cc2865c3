"""Background loops that a bug does not end: without this, what a loop does would stop until the next restart."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger()

# A bug may come back at once, and each time is logged.
_PAUSE_SECONDS = 60.0


async def keep_running(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run a loop until it is cancelled or returns; begin it again after an error that it did not expect."""
    while True:
        try:
            return await run()
        except Exception:
            log.exception("a background loop failed unexpectedly and will begin again", loop=name)
            await asyncio.sleep(_PAUSE_SECONDS)
