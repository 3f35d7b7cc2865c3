"""The intake: requests that come in while a commit is under way are recorded together by the next one."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shuttle import metrics
from shuttle.clock import Clock
from shuttle.store import Database
from shuttle.store.accept import Accepted, AcceptRequest, NewBuild, record_all
from shuttle.store.futures import complete

# A request's share of a commit falls with their number; beyond this the first one only waits longer.
_LARGEST_BATCH = 128
# Of free places in the queue, this many are kept for requests that are under way while it is counted.
_KEPT_FREE = 1000


@dataclass(slots=True)
class _Waiting:
    asked: AcceptRequest
    answer: asyncio.Future[Accepted]


class Intake:
    """Records new builds. Safe for any number of tasks of one loop."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._recording: asyncio.Task[None] | None = None
        self._uncounted = 0

    async def record(self, new: NewBuild, *, queue_limit: int | None, same_request: Callable[[str], bool]) -> Accepted:
        """See `shuttle.store.accept.record_all`; raises what it gives for this request, and StoreError."""
        asked = AcceptRequest(new, self._clock.moment(), self._limit_to_check(queue_limit), same_request)
        answer: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(asked, answer))
        if self._recording is None:
            self._recording = asyncio.create_task(self._record_waiting())
        accepted = await answer
        if accepted.waiting is not None and queue_limit is not None:
            free = queue_limit - accepted.waiting
            self._uncounted = free // 2 if free > _KEPT_FREE else 0
        if not accepted.replayed:
            metrics.ACCEPTED.inc()
        return accepted

    def _limit_to_check(self, queue_limit: int | None) -> int | None:
        """None while there is room for certain: counting costs 10 µs a thousand waiting builds, on every request.

        Nobody else adds to the queue, so what was free when it was last counted is a bound; half of it is given out
        uncounted.
        """
        self._uncounted -= 1
        return queue_limit if self._uncounted < 0 else None

    async def _record_waiting(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:_LARGEST_BATCH], self._waiting[_LARGEST_BATCH:]
            asked = [waiting.asked for waiting in batch]
            results: Sequence[Accepted | Exception]
            try:
                results = await self._database.run(record_all, asked)
            except Exception as error:  # noqa: BLE001 - handed over to the callers
                results = [error] * len(batch)
            for waiting, result in zip(batch, results, strict=True):
                complete(waiting.answer, result)
        self._recording = None
