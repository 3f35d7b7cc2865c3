"""Compares the log of one build sent to HTTP, Kafka and the archive with the same log to HTTP and the archive only.

Agent, Jenkins and HTTP receiver are in this process, the Kafka broker is a real one, the shuttle is a process. The cost
of HTTP depends on the bytes, that of Kafka on the lines, because each is a message: so the ratio is printed for several
lengths. Both are measured alternately, and the best run of each counts. `tests/real/install` installs the broker.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.log_throughput import MIB, Receiver, one_build, request
from bench.product import load_average, running_shuttle
from tests.real.kafka_brokers import AS_SHIPPED, LIBRARIES, running_brokers
from tests.support.serving import serving

LOG_BYTES = 64 * MIB
SECRETS = 3
ROUNDS = 3
LINES_BYTES = (80, 160, 320)
GOAL = 0.5


async def run() -> list[float]:
    """Measure, print and return the ratios."""
    ratios = []
    receiver = Receiver()
    print(f"one build's log of {LOG_BYTES // MIB} MiB with {SECRETS} secrets, pushes → sinks and archive, MB/s")
    print(f"{'bytes a line':>12} {'HTTP + archive':>14} {'HTTP + Kafka + archive':>22} {'ratio':>6} {'goal':>6}")
    with tempfile.TemporaryDirectory() as folder:
        async with (
            running_brokers(Path(folder) / "kafka", 1, machine=AS_SHIPPED) as brokers,
            serving(receiver.app()) as receiver_url,
            running_shuttle(Path(folder)) as shuttle,
        ):
            await brokers.make_topics("logs")

            async def speed(name: str, line_bytes: int, *hooks: str) -> float:
                fields: dict[str, Any] = request(f"{receiver_url}/{name}", SECRETS)
                fields["webhooks"]["logs"] = [fields["webhooks"]["logs"], *hooks]
                build = await one_build(shuttle, name, LOG_BYTES, line_bytes=line_bytes, **fields)
                return build.megabytes_per_second

            for line_bytes in LINES_BYTES:
                alone: list[float] = []
                three: list[float] = []
                for number in range(ROUNDS):
                    name = f"{line_bytes}-{number}"
                    alone.append(await speed(f"alone-{name}", line_bytes))
                    three.append(await speed(f"three-{name}", line_bytes, brokers.url("logs")))
                ratios.append(max(three) / max(alone))
                row = f"{line_bytes:>12} {max(alone):>14.0f} {max(three):>22.0f} {ratios[-1]:>6.2f} {GOAL:>6.2f}"
                print(f"{row}   {load_average()}", flush=True)
    return ratios


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
