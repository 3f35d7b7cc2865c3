"""The one listing of Jenkins' queue that everybody who waits shares."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from shuttle.jenkins import QueueItem


@dataclass(frozen=True, slots=True)
class Listing:
    """What waits: triggers by their build's uuid, and `node` steps of running builds by job and number."""

    marked: Mapping[str, QueueItem] = field(default_factory=dict)
    nodes: Mapping[tuple[str, int], QueueItem] = field(default_factory=dict)


class SharedQueue:
    """Asks for the listing at most once at a time, and not again while the last one is younger than `fresh_seconds`.

    One request serves any number of waiting builds. An asker that is cancelled cancels nobody else's request; an error
    is told to all who share the request and is never kept. Used from one event loop.
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
        """What waits, as Jenkins answered at most `fresh_seconds` ago."""
        if self._clock() < self._fresh_until:
            return self._listing
        if self._under_way is None:
            self._under_way = asyncio.create_task(self._ask())
            self._under_way.add_done_callback(_taken_note_of)
        return await asyncio.shield(self._under_way)

    async def close(self) -> None:
        """Give up the request under way; whoever waits for it is cancelled."""
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.wait([self._under_way])

    async def _ask(self) -> Listing:
        asked_at = self._clock()
        try:
            self._listing = await self._fetch()
            self._fresh_until = asked_at + self._fresh_seconds
            return self._listing
        finally:
            self._under_way = None


def _taken_note_of(task: "asyncio.Task[Listing]") -> None:
    # When every asker was cancelled meanwhile, nobody else looks at the error, and asyncio would complain about it.
    if not task.cancelled():
        task.exception()
