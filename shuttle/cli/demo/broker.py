"""A Kafka broker for demos: confluent-kafka's mock cluster on loopback, and a build's log consumed from it.

It keeps about 5 MB a partition and proves nothing about durability.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from confluent_kafka import Producer

_ANSWERS_WITHIN_SECONDS = 10
# It makes every topic with this many.
_PARTITIONS = 4
_FINISHED = "Build finished"


class ConsumedLog:
    """One build's log as its messages tell it; lines are known by their offset, so doubles do no harm."""

    def __init__(self) -> None:
        self.bytes = 0
        self._hash = hashlib.sha256()
        self._maybe_end = b""

    @property
    def sha256(self) -> str:
        """Of the bytes so far, in hex."""
        return self._hash.hexdigest()

    @property
    def has_end(self) -> bool:
        """The newest message says that the build finished; so could a line of the log, then others follow."""
        return bool(self._maybe_end)

    def take(self, record: ConsumerRecord) -> bytes:
        """What the message adds to the log: usually its line; nothing if it is a double or the end."""
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
    """A cluster of one broker on 127.0.0.1; `on_log(piece)` hears every byte of the topic's one log, in order."""

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
        """For `webhooks.logs`."""
        return f"kafka://{self._host}/{self._topic}"

    async def start(self) -> None:
        """Listen, and consume the topic from its beginning."""
        # The name only has to look like one: the cluster is this client's own.
        self._cluster = Producer({"bootstrap.servers": "mock:1", "test.mock.num.brokers": 1, "log_level": 0})
        found = await asyncio.to_thread(self._cluster.list_topics, timeout=_ANSWERS_WITHIN_SECONDS)
        self._host = ",".join(f"{broker.host}:{broker.port}" for broker in found.brokers.values())
        self._consumer = AIOKafkaConsumer(bootstrap_servers=self._host, group_id=None, auto_offset_reset="earliest")
        await self._consumer.start()
        self._consumer.assign([TopicPartition(self._topic, number) for number in range(_PARTITIONS)])
        self._consuming = asyncio.create_task(self._consume(self._consumer), name="consume the demo's log")

    async def until(self, log_bytes: int) -> None:
        """Until the whole log of this size, and its end, are consumed; raises what ended the consumer instead."""
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
        """Stop consuming, then listening; also fine twice, and without a start."""
        consuming, self._consuming = self._consuming, None
        if consuming is not None:
            consuming.cancel()
            with suppress(asyncio.CancelledError):
                await consuming
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()
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
