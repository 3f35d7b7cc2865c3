"""Sends to one partition in a single task, so that records of all streams keep their order."""

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

# The default limit of a topic (max.message.bytes) is 1 MiB, in older clusters 1,000,012 bytes. The larger a batch, the
# less a record costs the broker.
BATCH_BYTES = 960 * 1024
# Packed without a break, in about 0.5 ms; then other tasks run.
_RECORDS_AT_ONCE = 400


class SmallerBatchesError(KafkaUnavailableError):
    """The topic allows only smaller batches: send again, in batches of the size that has been learned."""


@dataclass(slots=True, eq=False)
class Chunk:
    """A part of a stream's records, from the queue until all are acknowledged.

    `left` are the records that are not packed yet. `held`, before them, is one that did not fit into the last batch.
    """

    key: bytes
    records: Iterable[Record]
    arrived: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    left: Iterator[Record] = field(init=False)
    held: tuple[Record, ...] = ()

    def __post_init__(self) -> None:
        self.left = iter(self.records)

    def take(self, most: int) -> Iterator[Record]:
        """Up to `most` of the next records."""
        held, self.held = self.held, ()
        return islice(chain(held, self.left), most)

    def withdraw(self) -> None:
        """Pack no more records; those that are packed already may still arrive."""
        self.arrived.cancel()

    def arrive(self) -> None:
        """Report that all records are acknowledged."""
        if not self.arrived.done():
            self.arrived.set_result(None)

    def fail(self, failure: Exception) -> None:
        """Report that some records may not have arrived and are not sent any more."""
        if not self.arrived.done():
            self.arrived.set_exception(failure)
            self.arrived.exception()  # if the stream has just stopped waiting, asyncio would log it as never retrieved


@dataclass(slots=True)
class _PackedBatch:
    """A batch, the chunk of its first record, and the chunks whose last record it holds."""

    batch: Batch
    first: Chunk | None = None
    completed: list[Chunk] = field(default_factory=list)


class PartitionSender:
    """The queue of one partition. A batch holds records of all streams in the queue; one batch is in flight at a time.

    The next batch is packed while one is on the wire. `put` sends a batch and returns with its acknowledgement;
    `limits` has the bytes of a batch by topic, learned from refusals. After a failure everything queued has failed and
    the sender is not used again: the batch on the wire may still arrive, so none may be sent that would overtake it.
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
        self._batches: deque[_PackedBatch] = deque()
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._acknowledged = 0

    @property
    def failed(self) -> bool:
        """Whether a failure has ended this sender."""
        return self._failure is not None

    def queue(self, key: bytes, records: Iterable[Record]) -> Chunk:
        """Send the records after all that were queued before; see `arrived`."""
        chunk = Chunk(key, records)
        if self._failure is not None:
            chunk.fail(self._failure)
            return chunk
        self._queue.append(chunk)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"kafka {self._topic}")
        return chunk

    async def arrived(self, chunk: Chunk, left_seconds: float, timeout_seconds: float) -> None:
        """Return once the chunk is acknowledged; raises the error that prevented it.

        It is an error, too, if the partition acknowledges nothing of any stream for `left_seconds`. After its first
        acknowledgement the limit is `timeout_seconds`.
        """
        loop, arrived = asyncio.get_running_loop(), chunk.arrived
        while not arrived.done():
            before = self._acknowledged
            # A thousand logs wait here ten times a second, and `asyncio.wait` takes twice as long as a plain future.
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
            while self._queue or self._batches:
                await self._send(self._batches[0] if self._batches else self._begin())
                self._batches.popleft()
        except Exception as error:  # noqa: BLE001 - any error has to reach those who wait for this task
            self._fail(error)

    def _begin(self) -> _PackedBatch:
        packed = _PackedBatch(Batch(self._limits.get(self._topic, BATCH_BYTES)))
        self._batches.append(packed)
        return packed

    async def _send(self, packed: _PackedBatch) -> None:
        """Fill the batch, send it, and pack the next one meanwhile."""
        more = True
        while more:
            more = self._pack(packed)
            await asyncio.sleep(0)
        if packed.batch.count:
            sending = asyncio.ensure_future(self._put(packed.batch))
            try:
                await self._pack_next(sending)
                await sending
            finally:
                if not sending.done():
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)
        self._acknowledged += packed.batch.count
        for chunk in packed.completed:
            chunk.arrive()

    async def _pack_next(self, sending: asyncio.Future[None]) -> None:
        """Pack the next batch until the one on the wire is acknowledged."""
        await asyncio.sleep(0)
        following = self._begin() if self._queue else None
        more = True
        while following is not None and more and not sending.done():
            more = self._pack(following)
            await asyncio.sleep(0)

    def _pack(self, packed: _PackedBatch) -> bool:
        """Put some of the queue into the batch, in order; returns whether there is more, and room for it."""
        batch = packed.batch
        most = batch.count + _RECORDS_AT_ONCE
        while self._queue and batch.count < most:
            chunk = self._queue[0]
            if not chunk.arrived.done():
                held = batch.fill(chunk.key, chunk.take(most - batch.count))
                packed.first = packed.first or (chunk if batch.count else None)
                if held is not None:
                    chunk.held = (held,)
                    return False
                if batch.count >= most:
                    return True
                packed.completed.append(chunk)
            self._queue.popleft()
        return bool(self._queue)

    def _fail(self, error: Exception) -> None:
        failure = self._failure = self._explain(error)
        batches, self._batches = self._batches, deque()
        queue, self._queue = self._queue, deque()
        if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
            refused = batches[0]
            failure = self._failure = SmallerBatchesError(f"The Kafka topic {self._topic} allows only smaller batches.")
            if refused.batch.count > 1:
                limit_bytes = self._limits.get(self._topic, BATCH_BYTES)
                self._limits[self._topic] = min(limit_bytes, refused.batch.size_bytes // 2)
            elif refused.first is not None:
                refused.first.fail(
                    RecordTooLargeError(f"The Kafka topic {self._topic} accepts no message of this size.")
                )
        for packed in batches:
            for chunk in packed.completed:
                chunk.fail(failure)
        for chunk in queue:
            chunk.fail(failure)

    async def close(self) -> None:
        """Stop; everything queued fails as not acknowledged."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._fail(KafkaUnavailableError("The connection to Kafka was closed."))


def _wake(sleeper: asyncio.Future[None], _arrived: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
