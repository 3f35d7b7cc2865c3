"""Records new builds in batches: requests that arrive during a commit are recorded together by the next commit."""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass

from shuttle import metrics
from shuttle.clock import Clock
from shuttle.errors import OutcomeUnknownError, StoreError
from shuttle.store import Database
from shuttle.store.accept import Accepted, AcceptRequest, record_all
from shuttle.store.futures import complete
from shuttle.store.new_build import NewBuild
from shuttle.store.request_time import transaction_seconds, wait_at_most

# A larger batch makes each request cheaper; beyond this size the first one only waits longer.
_MAX_BATCH = 128
# Free places in the queue that are reserved for requests that are being recorded while it is counted.
_RESERVED_FREE = 1000
# Which part of the free places a process uses without counting again, alone and among replicas: 32 replicas together do
# not exceed the limit.
_HALF, _SMALL_SHARE = 2, 32


@dataclass(slots=True)
class _Waiting:
    request: AcceptRequest
    result: asyncio.Future[Accepted]
    in_batch: bool = False

    def give_up(self) -> None:
        """End the wait of the request; if no batch has it yet, it will not be recorded."""
        error = OutcomeUnknownError if self.in_batch else StoreError
        complete(self.result, error("The database does not answer in time; send the request again later."))


class Intake:
    """Records new builds. Safe for any number of tasks of one event loop."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._recording: asyncio.Task[None] | None = None
        self._uncounted = 0
        self._share = _HALF if database.alone else _SMALL_SHARE

    async def record(self, new: NewBuild, *, queue_limit: int | None, same_request: Callable[[str], bool]) -> Accepted:
        """Record a build; raises the error that `accept.record_all` returns for it, or StoreError."""
        request = AcceptRequest(new, self._clock.moment(), self._limit_to_check(queue_limit), same_request)
        with transaction_seconds() as seconds:
            result: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
            waiting = _Waiting(request, result)
            self._waiting.append(waiting)
            if self._recording is None:
                # A new context: the task records the builds of many requests, so the limits and the fence of the first
                # one must not apply to it.
                self._recording = asyncio.create_task(self._record_waiting(), context=Context())
            accepted = await wait_at_most(seconds, result, waiting.give_up)
        if accepted.waiting is not None and queue_limit is not None:
            free = queue_limit - accepted.waiting
            self._uncounted = free // self._share if free > _RESERVED_FREE else 0
        if not accepted.replayed:
            metrics.ACCEPTED.inc()
        return accepted

    def _limit_to_check(self, queue_limit: int | None) -> int | None:
        """The queue limit, or None while the queue certainly has room.

        Counting the queue takes 10 µs per thousand waiting builds. In this process only this object adds to the queue,
        so a share of the places that were free at the last count is used without counting again. Other replicas do the
        same at the same time, so their shares are small.
        """
        self._uncounted -= 1
        return queue_limit if self._uncounted < 0 else None

    async def _record_waiting(self) -> None:
        while waiting_now := [waiting for waiting in self._waiting if not waiting.result.done()]:
            batch, self._waiting = waiting_now[:_MAX_BATCH], waiting_now[_MAX_BATCH:]
            for waiting in batch:
                waiting.in_batch = True
            requests = [waiting.request for waiting in batch]
            results: Sequence[Accepted | Exception]
            try:
                results = await self._database.run(record_all, requests)
            except Exception as error:  # noqa: BLE001 - raised in the callers
                results = [error] * len(batch)
            for waiting, result in zip(batch, results, strict=True):
                complete(waiting.result, result)
        self._waiting = []
        self._recording = None
