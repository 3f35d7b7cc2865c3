"""Measures the time from a line that a build prints to the HTTP sink, with a real supervisor in the emulated Jenkins.

The line carries the time at which it was printed; build, shuttle and receiver are on one machine.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from aiohttp import web

from bench.product import load_average
from tests.support.product import running_product
from tests.support.serving import serving

LINES = 600
# Not a divisor of the supervisor's pauses, so that lines are printed at any point within a pause.
EVERY_SECONDS = 0.037
# Measured when the service still read the log from Jenkins' console.
CONSOLE_P50_MS = 48
_SCRIPT = f"""#!/bin/sh
exec {sys.executable} -u -c '
import time
for number in range({LINES}):
    print("line", number, time.time(), flush=True)
    time.sleep({EVERY_SECONDS})
'
"""


async def run() -> list[float]:
    """The seconds from printing to receiving, for each line."""
    latencies: list[float] = []
    finished = asyncio.Event()

    async def sink(request: web.Request) -> web.Response:
        rest = b""
        async for chunk in request.content.iter_any():
            now = time.time()
            *lines, rest = (rest + chunk).split(b"\n")
            latencies.extend(now - float(line.split()[2]) for line in lines if line.startswith(b"line "))
        finished.set()
        return web.Response()

    receiver = web.Application(client_max_size=0)
    receiver.router.add_post("/log", sink)
    with tempfile.TemporaryDirectory() as folder:
        async with serving(receiver) as receiver_url, running_product(Path(folder)) as product:
            await product.submit("app", "1", _SCRIPT, webhooks={"logs": f"{receiver_url}/log"})
            await asyncio.wait_for(finished.wait(), 120)
    if len(latencies) != LINES:
        raise SystemExit(f"{len(latencies)} of {LINES} lines have arrived")
    return latencies


def main() -> int:
    """Print the percentiles."""
    latencies = sorted(seconds * 1000 for seconds in asyncio.run(run()))
    p99 = latencies[int(len(latencies) * 0.99)]
    print(f"printed by a build → at the HTTP sink, {len(latencies)} lines, one every {EVERY_SECONDS * 1000:.0f} ms")
    p50 = statistics.median(latencies)
    print(
        f"p50 {p50:.0f} ms (goal ≤ 150; through Jenkins' console: {CONSOLE_P50_MS})",
        f"p99 {p99:.0f} ms (goal ≤ 400)",
        load_average(),
        sep="   ",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
