"""Sends to one partition: a single task, so that records keep their order whoever hands them in."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice

from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from shuttle.errors import KafkaUnavailableError, RecordTooLargeError
from shuttle.kafka import Record
from shuttle.kafka.batch import Batch

# What a topic takes by default is 1 MiB, and 1,000,012 bytes in older ones (max.message.bytes). The larger a batch, the
# less a record costs the broker.
BATCH_BYTES = 960 * 1024
# Packed between two turns of the loop, about 0.5 ms: other tasks get their turn.
_RECORDS_AT_ONCE = 400


class SmallerBatchesError(KafkaUnavailableError):
    """The topic takes less at once than we sent: send again, in batches of the size that is known now."""


@dataclass(slots=True, eq=False)
class Chunk:
    """One portion of a stream's records, from the queue until all are acknowledged.

    `left` are not packed yet, and before them `held`: one that the last batch had no room for.
    """

    key: bytes
    records: Iterable[Record]
    arrived: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    left: Iterator[Record] = field(init=False)
    held: tuple[Record, ...] = ()

    def __post_init__(self) -> None:
        self.left = iter(self.records)

    def take(self, most: int) -> Iterator[Record]:
        """Those that are next, at most so many."""
        held, self.held = self.held, ()
        return islice(chain(held, self.left), most)

    def withdraw(self) -> None:
        """Pack no more of it; what is packed already may land all the same."""
        self.arrived.cancel()

    def arrive(self) -> None:
        """All of it is acknowledged."""
        if not self.arrived.done():
            self.arrived.set_result(None)

    def fail(self, failure: Exception) -> None:
        """It may not have arrived, and is not sent any more."""
        if not self.arrived.done():
            self.arrived.set_exception(failure)
            self.arrived.exception()  # retrieved, also if the stream has just stopped waiting


@dataclass(slots=True)
class _Load:
    """A batch and what is in it: the chunk of its first record, and those whose last record it holds."""

    batch: Batch
    first: Chunk | None = None
    completed: list[Chunk] = field(default_factory=list)


class PartitionSender:
    """The queue of one partition. Batches hold what is there, of all streams; the next is sent once it is acknowledged.

    It is packed while the one before is on the wire. `put` sends a batch and returns with its acknowledgement;
    `limits` has the bytes of a batch by topic, learned from refusals. After a failure everything queued has failed and
    the sender is not used again: what was on the wire may still arrive, so its successors must not be sent without it.
    """

    def __init__(
        self,
        topic: str,
        *,
        put: Callable[[Batch], Awaitable[None]],
        limits: MutableMapping[str, int],
        explain: Callable[[Exception], Exception],
    ) -> None:
        self._topic = topic
        self._put = put
        self._limits = limits
        self._explain = explain
        self._queue: deque[Chunk] = deque()
        self._loads: deque[_Load] = deque()
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._acknowledged = 0

    @property
    def failed(self) -> bool:
        """Nothing can be sent by it any more."""
        return self._failure is not None

    def queue(self, key: bytes, records: Iterable[Record]) -> Chunk:
        """Send the records behind all that were queued before; see `arrived`."""
        chunk = Chunk(key, records)
        if self._failure is not None:
            chunk.fail(self._failure)
            return chunk
        self._queue.append(chunk)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"kafka {self._topic}")
        return chunk

    async def arrived(self, chunk: Chunk, left_seconds: float, timeout_seconds: float) -> None:
        """Return once it is acknowledged; raises what kept it.

        Or that nobody's records were acknowledged: not within `left_seconds`, or later not for the patience.
        """
        loop, arrived = asyncio.get_running_loop(), chunk.arrived
        while not arrived.done():
            before = self._acknowledged
            # A thousand logs wait here ten times a second: `asyncio.wait` takes twice the time of a future of our own.
            woken = loop.create_future()
            timer = loop.call_later(left_seconds, _wake, woken, arrived)
            arrived.add_done_callback(wake := partial(_wake, woken))
            try:
                await woken
            finally:
                timer.cancel()
                arrived.remove_done_callback(wake)
            if self._acknowledged == before and not arrived.done():
                raise self._explain(TimeoutError())
            left_seconds = timeout_seconds
        arrived.result()

    async def _run(self) -> None:
        try:
            while self._queue or self._loads:
                await self._ship(self._loads[0] if self._loads else self._begin())
                self._loads.popleft()
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait for this task have to know
            self._fail(error)

    def _begin(self) -> _Load:
        load = _Load(Batch(self._limits.get(self._topic, BATCH_BYTES)))
        self._loads.append(load)
        return load

    async def _ship(self, load: _Load) -> None:
        """Fill it up, send it, and pack the next one meanwhile."""
        more = True
        while more:
            more = self._pack(load)
            await asyncio.sleep(0)
        if load.batch.count:
            sending = asyncio.ensure_future(self._put(load.batch))
            try:
                await self._pack_next(sending)
                await sending
            finally:
                if not sending.done():
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
        self._acknowledged += load.batch.count
        for chunk in load.completed:
            chunk.arrive()

    async def _pack_next(self, sending: asyncio.Future[None]) -> None:
        """What is queued, until what is on the wire is acknowledged."""
        await asyncio.sleep(0)
        following = self._begin() if self._queue else None
        more = True
        while following is not None and more and not sending.done():
            more = self._pack(following)
            await asyncio.sleep(0)

    def _pack(self, load: _Load) -> bool:
        """Put some of the queue into the batch, in its order; whether there is more, and room for it."""
        batch = load.batch
        most = batch.count + _RECORDS_AT_ONCE
        while self._queue and batch.count < most:
            chunk = self._queue[0]
            if not chunk.arrived.done():
                held = batch.fill(chunk.key, chunk.take(most - batch.count))
                load.first = load.first or (chunk if batch.count else None)
                if held is not None:
                    chunk.held = (held,)
                    return False
                if batch.count >= most:
                    return True
                load.completed.append(chunk)
            self._queue.popleft()
        return bool(self._queue)

    def _fail(self, error: Exception) -> None:
        failure = self._failure = self._explain(error)
        loads, self._loads = self._loads, deque()
        queue, self._queue = self._queue, deque()
        if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
            refused = loads[0]
            failure = self._failure = SmallerBatchesError(f"The Kafka topic {self._topic} takes smaller batches.")
            if refused.batch.count > 1:
                limit_bytes = self._limits.get(self._topic, BATCH_BYTES)
                self._limits[self._topic] = min(limit_bytes, refused.batch.size_bytes // 2)
            elif refused.first is not None:
                refused.first.fail(RecordTooLargeError(f"The Kafka topic {self._topic} takes no message of this size."))
        for load in loads:
            for chunk in load.completed:
                chunk.fail(failure)
        for chunk in queue:
            chunk.fail(failure)

    async def close(self) -> None:
        """Stop; whoever waits is told that nothing was acknowledged."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._fail(KafkaUnavailableError("The connection to Kafka was closed."))


def _wake(sleeper: asyncio.Future[None], _arrived: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
