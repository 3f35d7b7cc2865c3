"""Compares the Kafka sink with a plain aiokafka batch loop: the same log to the same real broker, acks=all, idempotent.

The loop only packs and sends prepared messages; the sink reads a spool, makes a message of each line and records
offsets. They are measured alternately, and the best run of each counts. `tests/real/install` installs the broker.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaProducer

from bench.product import load_average
from shuttle.clock import Clock
from shuttle.kafka import Record
from shuttle.kafka.clusters import KafkaClusters
from shuttle.kafka.partition_sender import BATCH_BYTES
from shuttle.logs.spool import Spool
from shuttle.outgoing.connector import AddressPolicy
from shuttle.settings import load_settings
from shuttle.sinks import SinkTarget
from shuttle.sinks.forward import LogForwarder, RetryPolicy
from shuttle.sinks.host_recovery import HostRecovery
from shuttle.sinks.kafka import KafkaUploadFactory
from shuttle.sinks.lines import LineReader
from shuttle.sinks.messages import Messages
from tests.real.kafka_brokers import AS_SHIPPED, LIBRARIES, Brokers, running_brokers

LINES = 200_000
LINE_BYTES = 120
ROUNDS = 3
GOAL = 0.5
_TIMEOUT_SECONDS = 60


class Ledger:
    """A SinkLedger that only checks that the complete log was sent."""

    done_bytes = -1

    async def acknowledged(self, sink_id: int, offset: int) -> None:
        """Ignored."""

    async def failing(self, _sink_id: int, error: str) -> None:
        """No failure is expected in a benchmark."""
        raise SystemExit(error)

    async def live(self, sink_id: int) -> None:
        """Ignored."""

    async def failed_over(self, sink_id: int, failover: object) -> None:
        """Ignored."""

    async def done(self, _sink_id: int, offset: int) -> None:
        """Record the final offset."""
        self.done_bytes = offset

    async def gave_up(self, _sink_id: int, error: str) -> None:
        """No failure is expected in a benchmark."""
        raise SystemExit(error)


def written_log(path: Path) -> Spool:
    """A finished log of equal lines."""
    spool = Spool(path)
    for number in range(0, LINES, 1000):
        lines = (b"[INFO] Compiling module-%06d of the project " % (number + step) for step in range(1000))
        spool.append(b"".join(line.ljust(LINE_BYTES - 1, b".") + b"\n" for line in lines))
    spool.end()
    return spool


async def finished_messages(spool: Spool, target: SinkTarget) -> tuple[bytes, list[Record]]:
    """The key, and all records that the sink sends."""
    messages, records, reader, offset = Messages(target), list[Record](), LineReader(spool), 0
    while (lines := await reader.lines_from(offset)) is not None:
        records += messages.of(lines)
        offset = lines.end_offset
    return messages.key, records + messages.finished(offset)


async def bare_loop(brokers: Brokers, topic: str, key: bytes, records: list[Record]) -> None:
    """Pack a batch, send it, and pack the next one meanwhile."""
    producer = AIOKafkaProducer(
        bootstrap_servers=brokers.bootstrap, acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES
    )
    await producer.start()
    try:
        on_their_way = []
        batch = producer.create_batch()
        for value, headers in records:
            if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
                on_their_way.append(await producer.send_batch(batch, topic, partition=0))
                batch = producer.create_batch()
                batch.append(timestamp=None, key=key, value=value, headers=headers)
        on_their_way.append(await producer.send_batch(batch, topic, partition=0))
        await asyncio.gather(*on_their_way)
    finally:
        await producer.stop()


async def sink(spool: Spool, target: SinkTarget) -> None:
    """The product's sink: from the spool to the last acknowledgement."""
    clusters = KafkaClusters(AddressPolicy(allow_loopback=True), load_settings({}))
    ledger, ended_at = Ledger(), datetime.now(UTC)
    try:
        forwarder = LogForwarder(KafkaUploadFactory(clusters, _TIMEOUT_SECONDS), RetryPolicy(), HostRecovery(), Clock())
        await forwarder.forward(target, spool, ledger, lambda: ended_at)
    finally:
        await clusters.close()
    if ledger.done_bytes != spool.size_bytes:
        raise SystemExit("the sink lacks bytes")


async def lines_per_second(way: Callable[[], Awaitable[None]]) -> float:
    """Measure one run."""
    began_at = time.perf_counter()
    await way()
    return LINES / (time.perf_counter() - began_at)


async def run() -> float:
    """Measure, print and return the ratio."""
    bare: list[float] = []
    ours: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        spool = written_log(Path(folder) / "spool")
        async with running_brokers(Path(folder) / "kafka", 1, machine=AS_SHIPPED) as brokers:
            for topic in ("bare", "sink"):
                await brokers.make_topics(topic)
            target = SinkTarget(
                sink_id=1, build_uuid="u" * 36, app_id="a", build_id="1", metadata_json="null", url=brokers.url("sink")
            )
            key, records = await finished_messages(spool, target)
            for _ in range(ROUNDS):
                bare.append(await lines_per_second(lambda: bare_loop(brokers, "bare", key, records)))
                ours.append(await lines_per_second(lambda: sink(spool, target)))
    ratio = max(ours) / max(bare)
    print(f"a log of {LINES} lines of {LINE_BYTES} bytes into one real Kafka broker, acks=all, lines/s")
    print(f"{'bare loop':>10} {'sink':>10} {'ratio':>6} {'goal':>6}   {load_average()}")
    print(f"{max(bare):>10.0f} {max(ours):>10.0f} {ratio:>6.2f} {GOAL:>6.2f}")
    return ratio


def main() -> int:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    if not LIBRARIES.is_dir():
        print("Kafka is not installed: run tests/real/install.")
        return 2
    asyncio.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
