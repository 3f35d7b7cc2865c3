"""A lane: the one task that sends to a partition, so that order holds whoever hands it records."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from shuttle.errors import KafkaUnavailableError, RecordTooLargeError
from shuttle.kafka import Record

# What a topic takes by default is 1 MiB (max.message.bytes); half of it is as fast and leaves room for its overhead.
BATCH_BYTES = 512 * 1024
# Of a record beside its key and value: our headers and the protocol's own, about.
_OVERHEAD_BYTES = 96


class Batch(Protocol):
    """aiokafka's BatchBuilder, as far as we use it."""

    def append(
        self, *, timestamp: int | None, key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes]]
    ) -> object | None:
        """None = it is full; a first record always fits."""

    def size(self) -> int:
        """In bytes."""


class SmallerBatchesError(KafkaUnavailableError):
    """The topic takes less at once than we sent: send again, the lanes know better now."""


@dataclass(slots=True)
class _Shipment:
    """Records of one sender, in a lane's queue until all are acknowledged; `sent` of them are, or are on the wire."""

    key: bytes
    records: Sequence[Record]
    arrived: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    sent: int = 0


class Lane:
    """The queue of one partition. Batches hold what is there, of all senders; the next goes when one is acknowledged.

    `put` sends a batch and returns with its acknowledgement; `limits` has the bytes of a batch by topic, learned from
    refusals. After a failure everything queued has failed and the lane is not used again: what was on the wire may
    still arrive, so its successors must not be sent without it.
    """

    def __init__(
        self,
        topic: str,
        *,
        new_batch: Callable[[], Batch],
        put: Callable[[Batch], Awaitable[None]],
        limits: MutableMapping[str, int],
        explain: Callable[[Exception], Exception],
    ) -> None:
        self._topic = topic
        self._new_batch = new_batch
        self._put = put
        self._limits = limits
        self._explain = explain
        self._queue: deque[_Shipment] = deque()
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._acknowledged = 0

    @property
    def failed(self) -> bool:
        """Nothing can be sent by it any more."""
        return self._failure is not None

    async def send(self, key: bytes, records: Sequence[Record], patience_seconds: float) -> None:
        """See `shuttle.kafka.Kafka.send`."""
        if self._failure is not None:
            raise self._failure
        shipment = _Shipment(key, records)
        self._queue.append(shipment)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name=f"kafka {self._topic}")
        try:
            while not shipment.arrived.done():
                before = self._acknowledged
                await asyncio.wait((shipment.arrived,), timeout=patience_seconds)
                if self._acknowledged == before and not shipment.arrived.done():
                    raise self._explain(TimeoutError())
            shipment.arrived.result()
        finally:
            # Whoever stops waiting sends no more of it; what is on the wire already may land all the same.
            shipment.arrived.cancel()

    async def _run(self) -> None:
        while self._queue:
            batch, count = self._new_batch(), 0
            try:
                count = self._fill(batch)
                if count:
                    await self._put(batch)
            except Exception as error:  # noqa: BLE001 - whatever it is, those who wait for this task have to know
                self._fail(error, batch.size(), count)
                return
            self._acknowledged += count
            while self._queue and self._is_over(self._queue[0]):
                shipment = self._queue.popleft()
                if not shipment.arrived.done():
                    shipment.arrived.set_result(None)

    def _is_over(self, shipment: _Shipment) -> bool:
        return shipment.sent == len(shipment.records) or shipment.arrived.done()

    def _fill(self, batch: Batch) -> int:
        """Put queued records into the batch, in their order, as many as it takes; returns how many."""
        count, size_bytes, append = 0, 0, batch.append
        limit_bytes = self._limits.get(self._topic, BATCH_BYTES)
        for shipment in self._queue:
            if self._is_over(shipment):
                continue
            key = shipment.key
            for value, headers in shipment.records[shipment.sent :]:
                size_bytes += len(value) + _OVERHEAD_BYTES + len(key)
                if count and size_bytes > limit_bytes:
                    return count
                if append(timestamp=None, key=key, value=value, headers=headers) is None:
                    return count
                shipment.sent += 1
                count += 1
        return count

    def _fail(self, error: Exception, size_bytes: int, count: int) -> None:
        failure = self._failure = self._explain(error)
        queue, self._queue = self._queue, deque()
        if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
            failure = self._failure = SmallerBatchesError(f"The Kafka topic {self._topic} takes smaller batches.")
            if count > 1:
                self._limits[self._topic] = min(self._limits.get(self._topic, BATCH_BYTES), size_bytes // 2)
            else:
                sender = next(shipment for shipment in queue if shipment.sent)
                _tell(sender, RecordTooLargeError(f"The Kafka topic {self._topic} takes no message of this size."))
        for shipment in queue:
            _tell(shipment, failure)

    async def close(self) -> None:
        """Stop; whoever waits is told that nothing was acknowledged."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._fail(KafkaUnavailableError("The connection to Kafka was closed."), 0, 0)


def _tell(shipment: _Shipment, failure: Exception) -> None:
    if not shipment.arrived.done():
        shipment.arrived.set_exception(failure)
        shipment.arrived.exception()  # told, also to a sender that has just stopped waiting
