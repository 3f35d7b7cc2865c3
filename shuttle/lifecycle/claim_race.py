"""Races a request to Jenkins against the claim: a claim reports the build number, so the request is then useless."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from shuttle.lifecycle import Services
from shuttle.lifecycle.signals import Listener
from shuttle.store.builds import find_build

Found = TypeVar("Found")

# A slow Jenkins has this time to answer after the claim, because people are still shown its answer: the queue item.
_GRACE_SECONDS = 1.0
# The delay that a lost signal may cause.
_LOST_SIGNAL_SECONDS = 5.0


async def unless_claimed(build_uuid: str, services: Services, request: Coroutine[Any, Any, Found]) -> Found | None:
    """Jenkins' answer to `request`; None = the build was claimed meanwhile, and its row is newer than any answer.

    After a claim, a pending request is cancelled and its error ignored. Cancelling a trigger cannot cause a second
    build: the claim proves that Jenkins has the build.
    """
    with services.signals.listen(build_uuid) as listener:
        answer = asyncio.ensure_future(request)
        claim = asyncio.ensure_future(_wait_for_claim(build_uuid, services, listener))
        try:
            await asyncio.wait({answer, claim}, return_when=asyncio.FIRST_COMPLETED)
            if not claim.done():
                return answer.result()
            claim.result()
            await asyncio.wait({answer}, timeout=_GRACE_SECONDS)
            return answer.result() if answer.done() and answer.exception() is None else None
        finally:
            for task in (answer, claim):
                task.cancel()
            await asyncio.gather(answer, claim, return_exceptions=True)


async def _wait_for_claim(build_uuid: str, services: Services, listener: Listener) -> None:
    """Return once the build is claimed. Callers have just read its row, so the first step is a wait."""
    while True:
        await listener.wait(_LOST_SIGNAL_SECONDS)
        build = await services.database.run(find_build, build_uuid)
        if build is None or build.claimed_at is not None:
            return
