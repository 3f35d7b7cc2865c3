"""A stream: one sender's portions on their way through a sender, in order, whatever becomes of senders and batches."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from shuttle.kafka import Record
from shuttle.kafka.partition_sender import Chunk, PartitionSender, SmallerBatchesError


@dataclass(frozen=True, slots=True)
class HeldPartitionSender:
    """A sender whose producer stays until `release` is called.

    `regain` holds it once more, if it can still be used: an open log sends a line every now and then.
    """

    sender: PartitionSender
    release: Callable[[], None]
    regain: Callable[[], bool]


class PartitionStream:
    """See `shuttle.kafka.Stream`; `hold` finds a sender within that many seconds.

    The sender changes only while nothing is under way: a portion in another sender could overtake those before it.
    """

    def __init__(self, hold: Callable[[float], Awaitable[HeldPartitionSender]], key: bytes) -> None:
        self._hold = hold
        self._key = key
        self._held: HeldPartitionSender | None = None
        self._last: HeldPartitionSender | None = None
        self._under_way: deque[Chunk] = deque()
        self._sign_of_life_at = 0.0

    async def put(self, records: Iterable[Record], timeout_seconds: float) -> None:
        """See the port."""
        if self._held is None:
            self._sign_of_life_at = asyncio.get_running_loop().time()
            self._held = await self._sender(timeout_seconds)
        self._under_way.append(self._held.sender.queue(self._key, records))

    async def _sender(self, timeout_seconds: float) -> HeldPartitionSender:
        if self._last is None or not self._last.regain():
            self._last = await self._hold(timeout_seconds)
        return self._last

    async def acknowledged(self, timeout_seconds: float) -> None:
        """See the port."""
        loop = asyncio.get_running_loop()
        while self._held is not None:
            left_seconds = max(self._sign_of_life_at + timeout_seconds - loop.time(), 0)
            try:
                await self._held.sender.arrived(self._under_way[0], left_seconds, timeout_seconds)
                break
            except SmallerBatchesError:
                await self._begin_again(timeout_seconds)  # an answer is a sign of life
        self._sign_of_life_at = loop.time()
        self._under_way.popleft()
        if not self._under_way:
            self.close()

    async def _begin_again(self, timeout_seconds: float) -> None:
        portions = [chunk.records for chunk in self._under_way]
        self.close()
        for records in portions:
            await self.put(records, timeout_seconds)

    def close(self) -> None:
        """See the port. All at once: were the first withdrawn alone, what follows it could be sent without it."""
        for chunk in self._under_way:
            chunk.withdraw()
        self._under_way.clear()
        held, self._held = self._held, None
        if held is not None:
            held.release()
