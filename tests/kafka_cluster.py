"""A Kafka cluster in the test's own process: confluent-kafka's mock brokers on loopback, and what they were sent.

They know acks, idempotence and consumers, keep about 5 MB a partition, and make any topic with four partitions.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from confluent_kafka import Producer

PARTITIONS = 4


@dataclass
class Cluster:
    """Where it listens: `host:port,host:port`."""

    bootstrap: str
    _mock: Producer

    def url(self, topic: str) -> str:
        """The hook of a topic."""
        return f"kafka://{self.bootstrap}/{topic}"

    @asynccontextmanager
    async def reading(self, topic: str) -> AsyncIterator["Topic"]:
        """What the topic holds and gets."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=None, auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign([TopicPartition(topic, number) for number in range(PARTITIONS)])
            yield Topic(consumer)
        finally:
            await consumer.stop()


class Topic:
    """Messages in the order of their arrival (of each partition)."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.messages: list[ConsumerRecord] = []
        self._consumer = consumer

    async def until(self, condition: Callable[[list[ConsumerRecord]], object], seconds: float = 20) -> None:
        """Read until the condition on all messages so far holds."""
        async with asyncio.timeout(seconds):
            while not condition(self.messages):
                found = await self._consumer.getmany(timeout_ms=1000)
                for records in found.values():
                    self.messages += records


def header(message: ConsumerRecord, name: str) -> str:
    """A header's text; empty = there is none."""
    return next((value.decode() for key, value in message.headers if key == name), "")


@asynccontextmanager
async def kafka_cluster(brokers: int = 1) -> AsyncIterator[Cluster]:
    """Start the brokers."""
    configuration = {"bootstrap.servers": "mock:1", "test.mock.num.brokers": brokers, "log_level": 0}
    mock = Producer(configuration)
    found = await asyncio.to_thread(mock.list_topics, timeout=10)
    try:
        yield Cluster(",".join(f"{broker.host}:{broker.port}" for broker in found.brokers.values()), mock)
    finally:
        await asyncio.to_thread(mock.close)
