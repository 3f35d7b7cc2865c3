"""Kafka: one producer for each cluster, shared by all logs and statuses that go there."""

from collections.abc import Iterable
from typing import Protocol

from shuttle.outgoing.kafka_url import KafkaAddress

# One message without its key: its value, and its headers as the library takes them. A plain tuple, because a log has
# millions of them, and making a named one takes a quarter of the time of packing it (0.3 of 1.3 µs, measured).
Record = tuple[bytes, list[tuple[str, bytes]]]


class Stream(Protocol):
    """Sends records of one key to a topic. Several chunks may be in flight, in the order of `put`.

    For one task. After an error the stream sends nothing more: make another one, and begin with the first chunk that
    was not acknowledged. Some of the records from there on may have arrived already, or may arrive later, always in
    their order. Receivers must be able to recognize such duplicates by the records' contents.

    `timeout_seconds` limits how long the cluster may make no progress. Both coroutines raise:
        KafkaUnavailableError: the chunk is not acknowledged; the message says why, without secrets.
        RecordTooLargeError: a record of the oldest chunk is larger than the topic allows.
        AddressRefusedError: the policy forbids an address of the cluster.
    """

    async def put(self, records: Iterable[Record], timeout_seconds: float) -> None:
        """Queue a chunk. It is iterated when it is packed, and again if the topic allows only smaller batches."""

    async def acknowledged(self, timeout_seconds: float) -> None:
        """Return once the oldest chunk in flight is on all in-sync replicas (acks=all)."""

    def close(self) -> None:
        """Withdraw the records that are not packed yet; idempotent."""


class Kafka(Protocol):
    """Sends records to any cluster. Safe for any number of tasks of one loop; records of one key share a partition."""

    def stream(self, address: KafkaAddress, key: bytes) -> Stream:
        """A stream for many records; it opens no connection yet."""

    async def send(
        self, address: KafkaAddress, key: bytes, records: Iterable[Record], *, timeout_seconds: float
    ) -> None:
        """Send one chunk in a stream of its own and return once it is acknowledged; raises the errors of `Stream`."""
