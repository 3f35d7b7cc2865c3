"""A stream: the chunks of one log or status, sent in order, and again in smaller batches if the topic requires that."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from shuttle.kafka import Record
from shuttle.kafka.partition_sender import Chunk, PartitionSender, SmallerBatchesError


@dataclass(frozen=True, slots=True)
class HeldPartitionSender:
    """A sender whose producer stays open until `release` is called.

    `regain` holds it again if it is still usable. A log that grows slowly does that for each new line.
    """

    sender: PartitionSender
    release: Callable[[], None]
    regain: Callable[[], bool]


class PartitionStream:
    """See `shuttle.kafka.Stream`; `hold(seconds)` finds a sender within this time.

    The sender changes only while nothing is in flight: a chunk in another sender could overtake those before it.
    """

    def __init__(self, hold: Callable[[float], Awaitable[HeldPartitionSender]], key: bytes) -> None:
        self._hold = hold
        self._key = key
        self._held: HeldPartitionSender | None = None
        self._last: HeldPartitionSender | None = None
        self._in_flight: deque[Chunk] = deque()
        self._progress_at = 0.0

    async def put(self, records: Iterable[Record], timeout_seconds: float) -> None:
        """See `shuttle.kafka.Stream`."""
        if self._held is None:
            self._progress_at = asyncio.get_running_loop().time()
            self._held = await self._sender(timeout_seconds)
        self._in_flight.append(self._held.sender.queue(self._key, records))

    async def _sender(self, timeout_seconds: float) -> HeldPartitionSender:
        if self._last is None or not self._last.regain():
            self._last = await self._hold(timeout_seconds)
        return self._last

    async def acknowledged(self, timeout_seconds: float) -> None:
        """See `shuttle.kafka.Stream`."""
        loop = asyncio.get_running_loop()
        while self._held is not None:
            left_seconds = max(self._progress_at + timeout_seconds - loop.time(), 0)
            try:
                await self._held.sender.arrived(self._in_flight[0], left_seconds, timeout_seconds)
                break
            except SmallerBatchesError:
                await self._send_again(timeout_seconds)  # the cluster answered, so the timeout starts anew
        self._progress_at = loop.time()
        self._in_flight.popleft()
        if not self._in_flight:
            self.close()

    async def _send_again(self, timeout_seconds: float) -> None:
        chunks = [chunk.records for chunk in self._in_flight]
        self.close()
        for records in chunks:
            await self.put(records, timeout_seconds)

    def close(self) -> None:
        """See `shuttle.kafka.Stream`. Withdraws all chunks at once: none may be sent without the one before it."""
        for chunk in self._in_flight:
            chunk.withdraw()
        self._in_flight.clear()
        held, self._held = self._held, None
        if held is not None:
            held.release()
