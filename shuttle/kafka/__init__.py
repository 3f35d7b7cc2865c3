"""Kafka: one connection to each cluster, shared by every log and status that goes there."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from shuttle.outgoing.kafka_url import KafkaAddress


class Record(NamedTuple):
    """One message without its key; the library takes its headers as a list only."""

    value: bytes
    headers: list[tuple[str, bytes]]


class Kafka(Protocol):
    """Sends records to any cluster. Safe for any number of tasks of one loop."""

    async def send(
        self, address: KafkaAddress, key: bytes, records: Sequence[Record], *, patience_seconds: float
    ) -> None:
        """Return once every record is on all replicas in sync (acks=all), in order, behind those sent before it.

        Records of one key share a partition. After an error any number of them may have arrived, or arrive later, the
        first before the others: send them again, and let receivers know doubles by what the records say.
        `patience_seconds` bounds how long the cluster may show no sign of progress.

        Raises:
            KafkaUnavailableError: not acknowledged; the message says why, without secrets.
            RecordTooLargeError: a record is larger than the topic takes.
            AddressRefusedError: the policy forbids an address of the cluster.
        """
