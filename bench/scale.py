"""Runs many builds with 10 lines/s each: checks every line; measures CPU, memory, calls and restarts by SIGKILL.

Supervisors, Jenkins and receiver are in this process; the shuttle is a process of its own. With `--kafka` the logs go
to a topic of a mock broker, which is a process of its own, like the reader of the topic.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from bench.kafka_lines import KafkaLines, kafka_lines
from bench.product import Shuttle, cpu_seconds, load_average, resident_mib, running_shuttle
from bench.supervisor import FULL_PUSH_BYTES, Supervisor
from shuttle.serve import raise_open_files_limit
from tests.support.kafka_cluster import kafka_cluster
from tests.support.serving import serving

BUILDS = int(os.environ.get("BENCH_BUILDS", "1000"))
LINES_PER_SECOND = 10
SECONDS = 30.0
LINE_BYTES = 32
CALLS_PER_SECOND = 200
POLLS_PER_SECOND = 200
RESTART_GOAL_SECONDS = 5.0
# Measured with 1,000 builds when the service still read the logs from Jenkins' console.
CONSOLE_CORES = 0.41
_ACCEPTING = 20


class SteadyBuild:
    """A build that prints ten 32-byte lines per second, and the loop of its supervisor."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._began_at = time.monotonic()
        self._is_over = asyncio.Event()
        self.lines = 0
        self.calls = 0
        self.pushing = asyncio.create_task(self._push())

    def end(self) -> None:
        """Stop printing."""
        self.lines = self._printed()
        self._is_over.set()

    async def _push(self) -> None:
        supervisor = self._supervisor
        while True:
            is_over = self._is_over.is_set()
            lines = self.lines if is_over else self._printed()
            raw = _text(supervisor.offset // LINE_BYTES, min(lines, supervisor.offset // LINE_BYTES + _MAX_LINES))
            is_last = is_over and supervisor.offset + len(raw) == lines * LINE_BYTES
            answered = await supervisor.push(raw, ended=is_last)
            self.calls += 1
            if is_last and answered:
                return
            await self._pause(supervisor.pause_seconds)

    async def _pause(self, seconds: float) -> None:
        """Pause like a supervisor; after the end of the process it sends the rest without a pause."""
        try:
            async with asyncio.timeout(seconds):
                await self._is_over.wait()
        except TimeoutError:
            return
        if self._supervisor.failures:
            await asyncio.sleep(seconds)

    @property
    def offset(self) -> int:
        """The number of bytes that the shuttle has acknowledged."""
        return self._supervisor.offset

    def _printed(self) -> int:
        return int((time.monotonic() - self._began_at) * LINES_PER_SECOND)


_MAX_LINES = FULL_PUSH_BYTES // LINE_BYTES


def _text(first: int, last: int) -> bytes:
    return b"".join(b"line %026d\n" % number for number in range(first, last))


class Lines:
    """A receiver that counts the bytes of each app's log and checks their lines."""

    def __init__(self) -> None:
        self.url = ""
        self.repeated = 0
        self._ended: set[str] = set()
        self._lines: Counter[str] = Counter()
        self._end = asyncio.Condition()
        self._sizes: Counter[str] = Counter()

    async def received(self, logs: int) -> int:
        """Wait until so many logs have come to their end; returns how many lines were received, each counted once."""
        async with self._end:
            await self._end.wait_for(lambda: len(self._ended) == logs)
        return self._lines.total()

    async def take(self, request: web.Request) -> web.Response:
        app_id, offset = request.headers["Shuttle-App-Id"], int(request.headers["Shuttle-Log-Offset"])
        try:
            async for chunk in request.content.iter_any():
                new = chunk[max(self._sizes[app_id] - offset, 0) :]
                self.repeated += len(chunk) > len(new)
                self._lines[app_id] += new.count(b"line 0")
                offset += len(chunk)
                self._sizes[app_id] = max(offset, self._sizes[app_id])
        except (ConnectionResetError, aiohttp.ClientError):
            return web.Response(status=400)
        async with self._end:
            self._ended.add(app_id)
            self._end.notify_all()
        return web.Response(headers={"Shuttle-Log-Offset": str(offset)})


@asynccontextmanager
async def _receiving(kafka: bool) -> AsyncIterator[Lines | KafkaLines]:
    if kafka:
        async with kafka_cluster() as cluster, kafka_lines(cluster) as topic:
            yield topic
        return
    lines = Lines()
    receiver = web.Application(client_max_size=0)
    receiver.router.add_post("/log", lines.take)
    async with serving(receiver) as url:
        lines.url = f"{url}/log"
        yield lines


async def run(kafka: bool) -> None:
    """Print the figures."""
    raise_open_files_limit()
    settings = {
        "MAXIMUM_PARALLEL_BUILDS": str(BUILDS),
        "SHUTTLE_JENKINS_POLLS_PER_SECOND": str(POLLS_PER_SECOND),
        "SHUTTLE_AGENT_CALLS_PER_SECOND": str(CALLS_PER_SECOND),
        # The default. With a small budget of calls, each of many supervisors is silent for seconds between two calls.
        "SHUTTLE_AGENT_SILENCE_SECONDS": "60",
    }
    with tempfile.TemporaryDirectory() as folder:
        async with (
            _receiving(kafka) as lines,
            running_shuttle(Path(folder), **settings) as shuttle,
            # An agent makes a new connection for each call.
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True)) as agents,
        ):
            builds: list[SteadyBuild] = []
            for wanted in dict.fromkeys((min(500, BUILDS), BUILDS)):
                builds += await begin(shuttle, agents, lines.url, len(builds), wanted)
                await asyncio.sleep(10)
                if wanted == BUILDS:
                    await _measure(shuttle, builds)
                await _restart(shuttle, builds)
            await end(builds, lines)


async def begin(shuttle: Shuttle, agents: aiohttp.ClientSession, sink: str, first: int, last: int) -> list[SteadyBuild]:
    """Request the builds of these numbers, and start their supervisors."""
    began_at = time.perf_counter()
    accepting = asyncio.Semaphore(_ACCEPTING)

    async def begun(number: int) -> SteadyBuild:
        async with accepting:
            supervisor = await shuttle.running(f"app-{number}", webhooks={"logs": sink})
        supervisor.session = agents
        return SteadyBuild(supervisor)

    builds = await asyncio.gather(*(begun(number) for number in range(first, last)))
    seconds = time.perf_counter() - began_at
    print(f"{last - first} builds accepted, staged, triggered and claimed in {seconds:.1f} s", flush=True)
    return builds


async def _measure(shuttle: Shuttle, builds: list[SteadyBuild]) -> None:
    pid = shuttle.process.pid
    cpu_before, calls_before, asked_before = cpu_seconds(pid), _calls(builds), shuttle.jenkins.asked.total()
    await asyncio.sleep(SECONDS)
    cores = (cpu_seconds(pid) - cpu_before) / SECONDS
    calls = (_calls(builds) - calls_before) / SECONDS
    polls = (shuttle.jenkins.asked.total() - asked_before) / SECONDS
    console = f"; 1,000 through Jenkins' console: {CONSOLE_CORES}"
    print(f"{len(builds)} builds, {LINES_PER_SECOND} lines/s each: {cores:.2f} cores (goal ≤ 1{console})", end="   ")
    print(
        f"{resident_mib(pid):.0f} MB (goal ≤ 400)   {calls:.0f} agents' calls/s (budget {CALLS_PER_SECOND})", end="   "
    )
    print(f"{polls:.0f} requests/s to Jenkins (budget {POLLS_PER_SECOND})   {load_average()}", flush=True)


def _calls(builds: list[SteadyBuild]) -> int:
    return sum(build.calls for build in builds)


async def _restart(shuttle: Shuttle, builds: list[SteadyBuild]) -> None:
    """A build is followed again when the new process has answered a push."""
    await shuttle.process.kill()
    # The responses of the killed process have arrived.
    await asyncio.sleep(0.1)
    offsets = [build.offset for build in builds]
    shuttle.jenkins.asked.clear()
    began_at = time.perf_counter()
    await shuttle.process.start()
    served_at = time.perf_counter()
    while time.perf_counter() - served_at < 60:
        followed = sum(build.offset > offset for build, offset in zip(builds, offsets, strict=True))
        if followed == len(builds):
            break
        await asyncio.sleep(0.02)
    seconds = time.perf_counter() - served_at
    polls = shuttle.jenkins.asked.total() / seconds
    print(
        f"after SIGKILL: up in {served_at - began_at:.1f} s, {followed} of {len(builds)} builds followed again", end=" "
    )
    print(
        f"{seconds:.1f} s later (goal ≤ {RESTART_GOAL_SECONDS:g} s for 500)   {polls:.0f} requests/s to Jenkins",
        end="   ",
    )
    print(load_average(), flush=True)


async def end(builds: list[SteadyBuild], lines: Lines | KafkaLines) -> None:
    """End all builds, and check that the receiver has every line."""
    for build in builds:
        build.end()
    await asyncio.gather(*(build.pushing for build in builds))
    async with asyncio.timeout(120):
        received = await lines.received(len(builds))
    printed = sum(build.lines for build in builds)
    print(f"{printed} lines printed, {received} received, {lines.repeated} repeated; every log has come to its end")
    if printed != received:
        raise SystemExit("lines are missing")


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", action="store_true", help="send the logs to Kafka")
    asyncio.run(run(parser.parse_args().kafka))
    return 0


if __name__ == "__main__":
    sys.exit(main())
