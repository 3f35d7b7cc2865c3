"""Statuses to Kafka: the body of a webhook as a message, its three headers as the message's."""

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
    """See `shuttle.delivery.StatusSender`; `timeout_seconds` as `patience_seconds` of `Kafka.send`."""

    kafka: Kafka
    signer: Signer
    timeout_seconds: float

    async def post(self, delivery: DueDelivery, at: datetime) -> SendResult:
        """See the port; acknowledged by all replicas in sync."""
        headers = self.signer.headers(delivery.webhook_id, at, delivery.body)
        record: Record = delivery.body, [(name, text.encode()) for name, text in headers.items()]
        address = read_kafka_url(delivery.url, "url")
        try:
            await self.kafka.send(address, _key(delivery), [record], patience_seconds=self.timeout_seconds)
        except ShuttleError as error:
            return SendResult(error=error.message)
        return SendResult()


def _key(delivery: DueDelivery) -> bytes:
    """The build's own, so that its statuses and its log lie in order in partitions of one number."""
    body = json.loads(delivery.body)
    return f"{body['app_id']}/{body['build_id']}".encode()
