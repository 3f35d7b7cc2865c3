"""A batch of aiokafka that is filled many records at a time."""

import time
from collections.abc import Iterable

from aiokafka.producer.message_accumulator import BatchBuilder

from shuttle.kafka import Record

_UNCOMPRESSED = 0


class Batch:
    """Up to `limit_bytes` of records, but at least one; aiokafka sends its `builder`."""

    def __init__(self, limit_bytes: int) -> None:
        self.builder = BatchBuilder(limit_bytes, _UNCOMPRESSED)

    @property
    def count(self) -> int:
        """The number of records."""
        return int(self.builder.record_count())

    @property
    def size_bytes(self) -> int:
        """The size of the batch."""
        return int(self.builder.size())

    def fill(self, key: bytes, records: Iterable[Record]) -> Record | None:
        """Append records; returns the first one that does not fit, None = all fit.

        Uses the inner builder of aiokafka's builder: by way of the outer one each record takes 50 % more time.
        """
        append, index = self.builder._builder.append, self.count  # noqa: SLF001
        now_ms = int(time.time() * 1000)
        try:
            for record in records:
                if append(index, now_ms, key=key, value=record[0], headers=record[1]) is None:
                    return record
                index += 1
        finally:
            self.builder._relative_offset = index  # noqa: SLF001
        return None
