"""Messages that a test has read from a Kafka topic, and the log of a build that they contain."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

_FINISHED = "Build finished"


class Topic:
    """The messages in the order of their arrival (of each partition)."""

    def __init__(self) -> None:
        self.messages: list[ConsumerRecord] = []
        self._of_key: defaultdict[bytes, list[ConsumerRecord]] = defaultdict(list)
        self._changed = asyncio.Condition()
        self._failure: Exception | None = None

    async def consume(self, consumer: AIOKafkaConsumer) -> None:
        """Read all the time, because brokers that keep few messages drop those that were not read."""
        try:
            while True:
                found = await consumer.getmany(timeout_ms=1000)
                if found:
                    await self._add([record for records in found.values() for record in records])
        except Exception as error:  # noqa: BLE001 - raised again where the test waits
            self._failure = error
            await self._add([])

    async def _add(self, records: list[ConsumerRecord]) -> None:
        async with self._changed:
            self.messages += records
            for record in records:
                self._of_key[record.key].append(record)
            self._changed.notify_all()

    async def until(self, condition: Callable[[list[ConsumerRecord]], object], seconds: float = 20) -> None:
        """Wait until the condition on all messages so far holds."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: self._failure or condition(self.messages))
        if self._failure is not None:
            raise self._failure

    def of_key(self, key: bytes) -> "Topic":
        """Only the messages with this key: one build of a topic that many builds share."""
        return TopicOfKey(self, self._of_key[key])


class TopicOfKey(Topic):
    """See `of_key`."""

    def __init__(self, topic: Topic, messages: list[ConsumerRecord]) -> None:
        super().__init__()
        self._topic = topic
        self.messages = messages

    async def until(self, condition: Callable[[list[ConsumerRecord]], object], seconds: float = 20) -> None:
        """Wait until the condition on all messages with the key holds."""
        await self._topic.until(lambda _: condition(self.messages), seconds)


@asynccontextmanager
async def consuming(consumer: AIOKafkaConsumer, topic: str, partitions: Iterable[int]) -> AsyncIterator[Topic]:
    """Read these partitions with a consumer that is not started yet; it is stopped at the end."""
    read = Topic()
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for number in partitions])
        task = asyncio.create_task(read.consume(consumer), name=f"consume {topic}")
        try:
            yield read
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    finally:
        # In a task of its own: aiokafka 0.14 raises CancelledError if it ends a fetch that has just failed.
        await asyncio.wait({asyncio.ensure_future(consumer.stop())})


def header(message: ConsumerRecord, name: str) -> str:
    """The text of a header; "" if there is none."""
    return next((value.decode() for key, value in message.headers if key == name), "")


def joined(messages: Sequence[ConsumerRecord]) -> tuple[bytes, int]:
    """The log of one build, joined by offset without duplicates, and its size as the last message says."""
    log = b""
    end: int | None = None
    for message in messages:
        text, offset = json.loads(message.value)["message"], offset_of(message)
        if text == _FINISHED and not header(message, "no_newline") and end in {None, offset} and offset == len(log):
            end = offset
            continue
        assert offset <= len(log), f"bytes {len(log)} to {offset} are missing before Kafka's offset {message.offset}"
        line = line_of(message)
        if offset < len(log):
            assert log[offset : offset + len(line)] == line, "a duplicate differs from the first copy"
        else:
            assert end is None, "a line after the end of the log"
            log += line
    assert end is not None, "the message with the end of the log is missing"
    return log, end


def is_finished(messages: Sequence[ConsumerRecord]) -> bool:
    """Whether the newest message is the end of the log. After a kill, lines and another end may follow it."""
    return bool(messages) and json.loads(messages[-1].value)["message"] == _FINISHED


def offset_of(message: ConsumerRecord) -> int:
    """The offset of its line in the log."""
    return int(header(message, "offset"))


def line_of(message: ConsumerRecord) -> bytes:
    """The line of the message, with its LF if it has one."""
    text: str = json.loads(message.value)["message"]
    return text.encode() + (b"" if header(message, "no_newline") else b"\n")
