"""A Kafka broker for demos: confluent-kafka's mock cluster on loopback, and a consumer of a build's log.

The mock cluster keeps about 5 MB per partition and has no durability.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from confluent_kafka import Producer

_ANSWERS_WITHIN_SECONDS = 10
# How many partitions the mock cluster gives every topic.
_PARTITIONS = 4
_FINISHED = "Build finished"


class ConsumedLog:
    """One build's log put together from its messages. Lines are identified by offset, so duplicates are ignored."""

    def __init__(self) -> None:
        self.bytes = 0
        self._hash = hashlib.sha256()
        self._maybe_end = b""

    @property
    def sha256(self) -> str:
        """The SHA-256 of the bytes so far, in hex."""
        return self._hash.hexdigest()

    @property
    def has_end(self) -> bool:
        """Whether the newest message says that the build finished. If a log line says it, more messages follow."""
        return bool(self._maybe_end)

    def take(self, record: ConsumerRecord) -> bytes:
        """The bytes that the message adds to the log; none for a duplicate or the final message.

        A log line may have the text of the final message. Such a line is added only when another message follows it.
        """
        headers = dict(record.headers)
        if int(headers["offset"]) != self.bytes + len(self._maybe_end):
            return b""
        text = json.loads(record.value)["message"]
        line = text.encode() + (b"" if "no_newline" in headers else b"\n")
        fresh, self._maybe_end = (self._maybe_end, line) if text == _FINISHED else (self._maybe_end + line, b"")
        self.bytes += len(fresh)
        self._hash.update(fresh)
        return fresh


class Broker:
    """A cluster of one broker on 127.0.0.1; `on_log(piece)` gets every byte of the topic's one log, in order."""

    def __init__(self, topic: str, on_log: Callable[[bytes], None]) -> None:
        self.log = ConsumedLog()
        self._topic = topic
        self._on_log = on_log
        self._host = ""
        self._cluster: Producer | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._consuming: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()

    @property
    def url(self) -> str:
        """The URL for `webhooks.logs`."""
        return f"kafka://{self._host}/{self._topic}"

    async def start(self) -> None:
        """Start the broker and consume the topic from its beginning."""
        # The server's name only has to be valid: the cluster runs in this client.
        self._cluster = Producer({"bootstrap.servers": "mock:1", "test.mock.num.brokers": 1, "log_level": 0})
        found = await asyncio.to_thread(self._cluster.list_topics, timeout=_ANSWERS_WITHIN_SECONDS)
        self._host = ",".join(f"{broker.host}:{broker.port}" for broker in found.brokers.values())
        self._consumer = AIOKafkaConsumer(bootstrap_servers=self._host, group_id=None, auto_offset_reset="earliest")
        await self._consumer.start()
        self._consumer.assign([TopicPartition(self._topic, number) for number in range(_PARTITIONS)])
        self._consuming = asyncio.create_task(self._consume(self._consumer), name="consume the demo's log")

    async def until(self, log_bytes: int) -> None:
        """Wait until the log of this size and its end are consumed; raises the consumer's error if it fails."""
        if self._consuming is None:
            raise RuntimeError("Broker.start has not returned")
        whole = asyncio.ensure_future(self._whole(log_bytes))
        try:
            await asyncio.wait({whole, self._consuming}, return_when=asyncio.FIRST_COMPLETED)
            if not whole.done():
                self._consuming.result()
        finally:
            whole.cancel()

    async def close(self) -> None:
        """Stop the consumer, then the broker; idempotent, also without `start`."""
        consuming, self._consuming = self._consuming, None
        if consuming is not None:
            consuming.cancel()
            with suppress(asyncio.CancelledError):
                await consuming
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            # In a task of its own: aiokafka 0.14 raises CancelledError if it ends a fetch that has just failed.
            await asyncio.wait({asyncio.ensure_future(consumer.stop())})
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            await asyncio.to_thread(cluster.close)

    async def _consume(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            piece = self.log.take(record)
            if piece:
                self._on_log(piece)
            async with self._changed:
                self._changed.notify_all()

    async def _whole(self, log_bytes: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.log.has_end and self.log.bytes == log_bytes)
