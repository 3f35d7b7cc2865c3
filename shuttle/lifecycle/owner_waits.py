"""Waits that end from outside, because another replica may own the app by then."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from shuttle.errors import NotOwnerError


class OwnerWaits:
    """Waits by the key that they depend on: an app that may be lost, or a replica that may die. One event loop."""

    def __init__(self) -> None:
        self._waits: dict[asyncio.Timeout, str] = {}

    @asynccontextmanager
    async def waiting(self, key: str, seconds: float | None = None) -> AsyncIterator[Callable[[], None]]:
        """End the block with NotOwnerError after `seconds` (None = no limit), or as soon as `end` is called for it.

        The block gets a function that begins the seconds anew.
        """
        wait = asyncio.timeout(seconds)

        def begin_anew() -> None:
            if seconds is not None and wait in self._waits and not wait.expired():
                wait.reschedule(asyncio.get_running_loop().time() + seconds)

        try:
            async with wait:
                self._waits[wait] = key
                yield begin_anew
        except TimeoutError:
            if not wait.expired():
                raise
            raise NotOwnerError from None
        finally:
            self._waits.pop(wait, None)

    def end(self, is_over: Callable[[str], bool]) -> None:
        """End the blocks whose key is over. One that is ending already cannot be ended again."""
        for wait in [wait for wait, key in self._waits.items() if is_over(key)]:
            del self._waits[wait]  # so that it does not begin anew
            if not wait.expired():
                wait.reschedule(0)  # at once
