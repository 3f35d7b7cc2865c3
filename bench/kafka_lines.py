"""Counts the lines of all logs in a Kafka topic. A process of its own reads them, as fast as the mock broker sends.

The broker keeps only 5 MB per partition: a reader in a busy process would lag behind and miss messages.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from tests.support.kafka_cluster import PARTITIONS, Cluster

TOPIC = "logs"
_TREE = Path(__file__).parents[1]
_REPORT_SECONDS = 1.0
_MESSAGES_AT_ONCE = 5000


class KafkaLines:
    """The figures that the reading process reports every second."""

    def __init__(self, url: str, process: asyncio.subprocess.Process) -> None:
        self.url = url
        """The hook URL of the topic."""
        self.repeated = 0
        """Messages whose line has been received before, with the same text."""
        self._process = process
        self._received = 0

    async def received(self, logs: int) -> int:
        """Wait until so many logs have come to their end; returns how many lines were received, each counted once."""
        assert self._process.stdout is not None
        async for report in self._process.stdout:
            ended, self._received, self.repeated, missing = json.loads(report)
            if missing:
                raise SystemExit(f"lines are missing in the topic: {missing}")
            if ended >= logs:
                return self._received
        raise SystemExit("the reader of the topic has ended")


@asynccontextmanager
async def kafka_lines(cluster: Cluster) -> AsyncIterator[KafkaLines]:
    """Read the topic from its beginning, in a process that is killed at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.kafka_lines", cluster.bootstrap), cwd=_TREE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield KafkaLines(cluster.url(TOPIC), process)
    finally:
        process.kill()
        await process.communicate()


class _Logs:
    """The size of each log so far, by the key of its messages."""

    def __init__(self) -> None:
        self.sizes: dict[bytes, int] = {}
        self.ended: set[bytes] = set()
        self.lines = 0
        self.repeated = 0
        self.missing = ""

    def add(self, messages: Sequence[Message]) -> None:
        for message in messages:
            failure, key, value = message.error(), message.key(), message.value()
            if failure is not None or key is None or value is None:
                self.missing = str(failure)
                return
            headers = dict(message.headers() or ())
            self._add(key, json.loads(value)["message"], int(headers["offset"] or b""))

    def _add(self, key: bytes, text: str, offset: int) -> None:
        size = self.sizes.get(key, 0)
        if offset > size:
            self.missing = f"bytes {size} to {offset} of {key!r}"
        elif text == "Build finished":
            self.ended.add(key)
        elif offset < size:
            self.repeated += 1
        else:
            self.sizes[key] = offset + len(text.encode()) + 1
            self.lines += text.startswith("line 0")


def _read(bootstrap: str) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", "fetch.wait.max.ms": 50})
    consumer.assign([TopicPartition(TOPIC, number, OFFSET_BEGINNING) for number in range(PARTITIONS)])
    logs, reported_at = _Logs(), 0.0
    while True:
        logs.add(consumer.consume(_MESSAGES_AT_ONCE, timeout=_REPORT_SECONDS))
        if time.monotonic() - reported_at >= _REPORT_SECONDS:
            reported_at = time.monotonic()
            print(json.dumps([len(logs.ended), logs.lines, logs.repeated, logs.missing]), flush=True)


if __name__ == "__main__":
    _read(sys.argv[1])
