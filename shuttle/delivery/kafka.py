"""Sends statuses to Kafka: a webhook's body is the message's value, its three headers are the message's headers."""

import json
from dataclasses import dataclass
from datetime import datetime

from shuttle.delivery import DueDelivery, SendResult
from shuttle.delivery.signature import Signer
from shuttle.errors import ShuttleError
from shuttle.kafka import Kafka, Record
from shuttle.outgoing.kafka_url import read_kafka_url


@dataclass(frozen=True, slots=True)
class KafkaStatusSender:
    """See `shuttle.delivery.StatusSender`; `timeout_seconds` as in `Kafka.send`."""

    kafka: Kafka
    signer: Signer
    timeout_seconds: float

    async def post(self, delivery: DueDelivery, at: datetime) -> SendResult:
        """See the port; an accepted status is acknowledged by all in-sync replicas."""
        headers = self.signer.headers(delivery.webhook_id, at, delivery.body)
        record: Record = delivery.body, [(name, text.encode()) for name, text in headers.items()]
        address = read_kafka_url(delivery.url, "url")
        try:
            await self.kafka.send(address, _key(delivery), [record], timeout_seconds=self.timeout_seconds)
        except ShuttleError as error:
            return SendResult(error=error.message)
        return SendResult()


def _key(delivery: DueDelivery) -> bytes:
    """The same key as for the build's log: both then go, in order, to the partition of the same number."""
    body = json.loads(delivery.body)
    return f"{body['app_id']}/{body['build_id']}".encode()
