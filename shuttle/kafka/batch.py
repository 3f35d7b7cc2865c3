"""A batch: aiokafka's, filled many records at a time."""

import time
from collections.abc import Iterable

from aiokafka.producer.message_accumulator import BatchBuilder

from shuttle.kafka import Record

_UNCOMPRESSED = 0


class Batch:
    """Up to `limit_bytes` of records, but at least one; `builder` is what aiokafka sends."""

    def __init__(self, limit_bytes: int) -> None:
        self.builder = BatchBuilder(limit_bytes, _UNCOMPRESSED)

    @property
    def count(self) -> int:
        """How many records it holds."""
        return int(self.builder.record_count())

    @property
    def size_bytes(self) -> int:
        """How large it is."""
        return int(self.builder.size())

    def fill(self, key: bytes, records: Iterable[Record]) -> Record | None:
        """Put these in; returns the first for which there is no room, None = all are in.

        By the builder's builder: each record by way of the outer one costs half as much again.
        """
        append, place = self.builder._builder.append, self.count  # noqa: SLF001
        now_ms = int(time.time() * 1000)
        try:
            for record in records:
                if append(place, now_ms, key=key, value=record[0], headers=record[1]) is None:
                    return record
                place += 1
        finally:
            self.builder._relative_offset = place  # noqa: SLF001
        return None
