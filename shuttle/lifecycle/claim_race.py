"""Claimed: the pipeline's first step tells us job and number itself, so no question about them outlasts it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from shuttle.lifecycle import Services
from shuttle.lifecycle.signals import Listener
from shuttle.store.builds import find_build

Found = TypeVar("Found")

# A Jenkins that is only slow may still answer: the queue item, for one, is shown to people.
_GRACE_SECONDS = 1.0
# What a signal that was lost may cost.
_LOST_SIGNAL_SECONDS = 5.0


async def unless_claimed(build_uuid: str, services: Services, question: Coroutine[Any, Any, Found]) -> Found | None:
    """What Jenkins answers to `question`; None = the build was claimed meanwhile, so its row knows more.

    A question without an answer is withdrawn then, one with an error forgotten. Withdrawing a trigger repeats nothing:
    the claim proves that Jenkins has the build.
    """
    with services.signals.listen(build_uuid) as listener:
        asked = asyncio.ensure_future(question)
        claim = asyncio.ensure_future(_claim(build_uuid, services, listener))
        try:
            await asyncio.wait({asked, claim}, return_when=asyncio.FIRST_COMPLETED)
            if not claim.done():
                return asked.result()
            claim.result()
            await asyncio.wait({asked}, timeout=_GRACE_SECONDS)
            return asked.result() if asked.done() and asked.exception() is None else None
        finally:
            for task in (asked, claim):
                task.cancel()
            await asyncio.gather(asked, claim, return_exceptions=True)


async def _claim(build_uuid: str, services: Services, listener: Listener) -> None:
    """Return once the build is claimed; who asks has read its row just before."""
    while True:
        await listener.wait(_LOST_SIGNAL_SECONDS)
        build = await services.database.run(find_build, build_uuid)
        if build is None or build.claimed_at is not None:
            return
