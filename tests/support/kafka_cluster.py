"""A Kafka cluster of confluent-kafka's mock brokers on loopback, in its own process, and readers of its topics.

The brokers support acks, idempotence and consumers, keep about 5 MB per partition, and create any topic with four
partitions. Run as a program, this module is that process: it prints its address, and ends when stdin is closed.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer
from confluent_kafka import Producer

from tests.support.kafka_topic import Topic, consuming
from tests.support.paused_process import pause

PARTITIONS = 4
_TREE = Path(__file__).parents[2]


class Cluster:
    """A running cluster."""

    def __init__(self, bootstrap: str, process: asyncio.subprocess.Process) -> None:
        self.bootstrap = bootstrap
        """Where it listens: `host:port,host:port`."""
        self._process = process

    def url(self, topic: str) -> str:
        """The hook URL of a topic."""
        return f"kafka://{self.bootstrap}/{topic}"

    async def pause(self) -> None:
        """Stop the process of all brokers; the kernel still accepts connections for them."""
        await pause(self._process)

    @asynccontextmanager
    async def reading(self, topic: str) -> AsyncIterator[Topic]:
        """A reader of the topic."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap,
            group_id=None,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=50,  # brokers send no response earlier, even if data arrive
        )
        async with consuming(consumer, topic, range(PARTITIONS)) as read:
            yield read


@asynccontextmanager
async def kafka_cluster(brokers: int = 1) -> AsyncIterator[Cluster]:
    """Start the brokers in a process, and kill it at the end, even if it is paused."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.kafka_cluster", str(brokers),
        cwd=_TREE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        bootstrap = (await process.stdout.readline()).decode().strip()
        assert bootstrap, "the brokers did not start"
        yield Cluster(bootstrap, process)
    finally:
        process.kill()
        await process.communicate()


def _serve(brokers: int) -> None:
    configuration = {"bootstrap.servers": "mock:1", "test.mock.num.brokers": brokers, "log_level": 0}
    mock = Producer(configuration)
    found = mock.list_topics(timeout=10)
    print(",".join(f"{broker.host}:{broker.port}" for broker in found.brokers.values()), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
