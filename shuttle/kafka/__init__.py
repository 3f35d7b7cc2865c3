"""Kafka: one connection to each cluster, shared by every log and status that goes there."""

from collections.abc import Iterable
from typing import Protocol

from shuttle.outgoing.kafka_url import KafkaAddress

# One message without its key: its value, and its headers as the library takes them. A bare tuple, because a log is
# millions of them and making a named one costs a quarter of what packing it does (0.3 of 1.3 µs, measured).
Record = tuple[bytes, list[tuple[str, bytes]]]


class Stream(Protocol):
    """Records of one key on their way to a topic: several portions may be under way, in the order of `put`.

    For one task. After an error nothing of it is sent any more: make another, and begin with the first portion that
    was not acknowledged. Any number of the records behind that may have arrived, or arrive later, the first before the
    others: let receivers know doubles by what the records say.

    `timeout_seconds` bounds how long the cluster may show no sign of progress. Both waits raise:
        KafkaUnavailableError: not acknowledged; the message says why, without secrets.
        RecordTooLargeError: a record of the oldest portion is larger than the topic takes.
        AddressRefusedError: the policy forbids an address of the cluster.
    """

    async def put(self, records: Iterable[Record], timeout_seconds: float) -> None:
        """Queue a portion. It is iterated when it is packed, and once more if the topic takes smaller batches only."""

    async def acknowledged(self, timeout_seconds: float) -> None:
        """Return once the oldest portion under way is on all replicas in sync (acks=all)."""

    def close(self) -> None:
        """Withdraw what is not packed yet; fine twice."""


class Kafka(Protocol):
    """Sends records to any cluster. Safe for any number of tasks of one loop; records of one key share a partition."""

    def stream(self, address: KafkaAddress, key: bytes) -> Stream:
        """A way for many records; nothing is opened yet."""

    async def send(
        self, address: KafkaAddress, key: bytes, records: Iterable[Record], *, timeout_seconds: float
    ) -> None:
        """One portion by a stream of its own: return once it is acknowledged; raises as a stream does."""
