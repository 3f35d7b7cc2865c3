"""Finds what a request recorded although it was answered 503: the answer to its COMMIT and its notices were lost."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from shuttle.errors import UnavailableError
from shuttle.lifecycle.signals import Signals

log = structlog.get_logger()

_PAUSE_SECONDS = 5.0
# A server whose disk or standby hangs may commit long after its client was answered.
_LOOKS = 120


async def look_for_unanswered(signals: Signals, look: Callable[[], Awaitable[None]]) -> None:
    """Look every 5 s for ten minutes after the newest of these answers; run until cancelled."""
    looks_left = 0
    while True:
        if not looks_left:
            await signals.unanswered.wait()
        if signals.unanswered.is_set():
            signals.unanswered.clear()
            looks_left = _LOOKS
        looks_left -= 1
        try:
            await look()
        except UnavailableError as error:
            log.warning("the search for builds of unanswered requests failed and will be repeated", error=error.message)
        except Exception:  # a bug must not end the search: nothing else finds these builds
            log.exception("the search for builds of unanswered requests failed unexpectedly and will be repeated")
        await asyncio.sleep(_PAUSE_SECONDS)
