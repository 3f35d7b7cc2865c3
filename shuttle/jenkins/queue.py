"""One listing of Jenkins' queue, shared by all waiting builds."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from shuttle.jenkins import QueueItem


@dataclass(frozen=True, slots=True)
class Listing:
    """The waiting items: triggers by their build's uuid, and `node` steps of running builds by job and number."""

    marked: Mapping[str, QueueItem] = field(default_factory=dict)
    nodes: Mapping[tuple[str, int], QueueItem] = field(default_factory=dict)


class SharedQueue:
    """Fetches the listing at most once at a time, and not again while the last one is younger than `fresh_seconds`.

    Concurrent callers share one request. Cancelling a caller does not cancel the request of the others. All of them get
    its error, and an error is never cached. Used from one event loop.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Listing]],
        *,
        fresh_seconds: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._fresh_seconds = fresh_seconds
        self._clock = clock
        self._under_way: asyncio.Task[Listing] | None = None
        self._listing = Listing()
        self._fresh_until = -float("inf")

    async def listing(self) -> Listing:
        """The waiting items, at most `fresh_seconds` old."""
        if self._clock() < self._fresh_until:
            return self._listing
        if self._under_way is None:
            self._under_way = asyncio.create_task(self._fetch_listing())
            self._under_way.add_done_callback(_retrieve_error)
        return await asyncio.shield(self._under_way)

    async def close(self) -> None:
        """Cancel the request under way and the callers that wait for it."""
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.wait([self._under_way])

    async def _fetch_listing(self) -> Listing:
        began_at = self._clock()
        try:
            self._listing = await self._fetch()
            self._fresh_until = began_at + self._fresh_seconds
            return self._listing
        finally:
            self._under_way = None


def _retrieve_error(task: "asyncio.Task[Listing]") -> None:
    # If every caller was cancelled, nothing else retrieves the error, and asyncio would log it as never retrieved.
    if not task.cancelled():
        task.exception()
