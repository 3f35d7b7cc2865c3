"""One build's log to HTTP, Kafka and the archive together, beside the same to HTTP and the archive alone.

Jenkins and the HTTP receiver are one process, the Kafka broker is a real one, the shuttle is one process with one loop.
HTTP costs by the byte and Kafka by the line, which is a message there: so the ratio is printed for several lengths.
Both ways take turns and the best of each counts. `tests/real/install` brings the broker.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path

from bench.log_throughput import MIB, far_ends, in_process, shuttle
from shuttle.kafka.clusters import KafkaClusters
from shuttle.outgoing.connector import AddressPolicy
from shuttle.settings import load_settings
from shuttle.sinks import SinkTarget
from shuttle.sinks.kafka import KafkaSender
from tests.real.kafka_brokers import AS_SHIPPED, LIBRARIES, running_brokers

LOG_BYTES = 64 * MIB
SECRETS = 3
ROUNDS = 3
LINES_BYTES = (80, 160, 320)
GOAL = 0.5
_PATIENCE_SECONDS = 60


async def together(url: str, kafka_url: str) -> None:
    """HTTP, archive and Kafka."""
    clusters = KafkaClusters(AddressPolicy(allow_loopback=True), load_settings({}))
    target = SinkTarget(sink_id=2, build_uuid="u" * 36, app_id="a", build_id="b", metadata_json="null", url=kafka_url)
    try:
        await shuttle(url, LOG_BYTES, SECRETS, further=[(KafkaSender(clusters, _PATIENCE_SECONDS), target)])
    finally:
        await clusters.close()


async def megabytes_per_second(way: Awaitable[None]) -> float:
    """One run, in megabytes (10^6) of the log."""
    began_at = time.perf_counter()
    await way
    return LOG_BYTES / 1e6 / (time.perf_counter() - began_at)


async def run() -> list[float]:
    """Measure and print; the ratios."""
    ratios = []
    ends = f"http://127.0.0.1:{in_process(far_ends)}/log"
    print(f"one build's log of {LOG_BYTES // MIB} MiB with {SECRETS} secrets, Jenkins → sinks and archive, MB/s")
    print(f"{'bytes a line':>12} {'HTTP + archive':>14} {'HTTP + Kafka + archive':>22} {'ratio':>6} {'goal':>6}")
    with tempfile.TemporaryDirectory() as folder:
        async with running_brokers(Path(folder), 1, machine=AS_SHIPPED) as brokers:
            await brokers.make_topics("logs")
            for line_bytes in LINES_BYTES:
                url = f"{ends}?line_bytes={line_bytes}"
                alone: list[float] = []
                three: list[float] = []
                for _ in range(ROUNDS):
                    alone.append(await megabytes_per_second(shuttle(url, LOG_BYTES, SECRETS)))
                    three.append(await megabytes_per_second(together(url, brokers.url("logs"))))
                ratios.append(max(three) / max(alone))
                row = f"{line_bytes:>12} {max(alone):>14.0f} {max(three):>22.0f} {ratios[-1]:>6.2f} {GOAL:>6.2f}"
                print(row, flush=True)
    return ratios


def main() -> int:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    if not LIBRARIES.is_dir():
        print("There is no Kafka here: tests/real/install brings it.")
        return 2
    asyncio.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
