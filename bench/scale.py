"""Many builds at once, 10 lines/s each: every line arrives; cores, memory and polls of the shuttle; and a restart.

The Jenkins and the receiver are bench servers in a process of their own (this one); the shuttle is a process too.
"""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from aiohttp import web

from bench.jenkins import BenchJenkins, serving

BUILDS = int(os.environ.get("BENCH_BUILDS", "1000"))
LINES_PER_SECOND = 10
SECONDS = 30.0
LINE_BYTES = 32
POLLS_PER_SECOND = 200
RESTART_GOAL_SECONDS = 5.0


class SteadyLog:
    """A text of 32-byte lines, 10 a second from its claim on, made when it is read."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()
        self.lines: int | None = None

    def size_bytes(self) -> int:
        return self._now() * LINE_BYTES

    def done(self) -> bool:
        return self.lines is not None

    def read(self, start: int, end: int) -> bytes:
        first, last = start // LINE_BYTES, end // LINE_BYTES
        return b"".join(b"line %025d\n" % number for number in range(first, last)).replace(b"\n", b"\r\n")

    def _now(self) -> int:
        if self.lines is not None:
            return self.lines
        return int((time.monotonic() - self._began_at) * LINES_PER_SECOND)


class Lines:
    """A receiver that counts the lines of each build by offset."""

    def __init__(self) -> None:
        self.ended: dict[str, int] = {}
        self.end = asyncio.Condition()

    async def take(self, request: web.Request) -> web.Response:
        size = int(request.headers["Shuttle-Log-Offset"])
        try:
            async for chunk in request.content.iter_any():
                size += len(chunk)
        except ConnectionResetError:
            return web.Response(status=400)
        async with self.end:
            self.ended[request.headers["Shuttle-App-Id"]] = size
            self.end.notify_all()
        return web.Response(headers={"Shuttle-Log-Offset": str(size)})


def usage(pid: int) -> tuple[float, float]:
    """CPU seconds so far and resident MiB of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return ticks / os.sysconf("SC_CLK_TCK"), resident * os.sysconf("SC_PAGE_SIZE") / 2**20


async def run() -> None:
    """Print the figures."""
    from shuttle.app import raise_open_files_limit
    from tests.product import FAST, Process, data_url, free_port

    raise_open_files_limit()
    jenkins, lines = BenchJenkins(), Lines()
    receiver = web.Application(client_max_size=0)
    receiver.router.add_post("/log", lines.take)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        async with serving(jenkins.app()) as jenkins_url, serving(receiver) as receiver_url:
            environment = {
                **FAST,
                "PORT": str(port),
                "SHUTTLE_DATA_DIR": folder,
                "JENKINS_URL": jenkins_url.replace("://", "://u:t@"),
                "MAXIMUM_PARALLEL_BUILDS": str(BUILDS),
                "SHUTTLE_JENKINS_POLLS_PER_SECOND": str(POLLS_PER_SECOND),
            }
            shuttle = Process(["serve"], environment, f"{url}/healthz", Path(folder) / "out")
            await shuttle.start()
            try:
                await _begin(url, data_url({"build.sh": ""}), f"{receiver_url}/log", jenkins)
                await _measure(shuttle.pid, jenkins)
                await _restart(shuttle, jenkins)
                await _end(jenkins, lines)
            finally:
                await shuttle.kill()


async def _begin(url: str, source: str, sink: str, jenkins: BenchJenkins) -> None:
    body = {"source": {"url": source}, "pipeline": "script", "webhooks": {"logs": sink}}
    began_at = time.perf_counter()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=20)) as session:

        async def submit(number: int) -> None:
            async with session.post(f"{url}/app-{number}/1", json=body) as response:
                response.raise_for_status()

        claimed: set[str] = set()
        submitting = asyncio.gather(*(submit(number) for number in range(BUILDS)))
        while len(claimed) < BUILDS:
            async with jenkins.triggered:
                await jenkins.triggered.wait_for(lambda: len(jenkins.forms) > len(claimed))
            for job in [job for job in jenkins.forms if job not in claimed]:
                jenkins.logs[job] = SteadyLog()
                await jenkins.claim(session, url, job)
                claimed.add(job)
        await submitting
    print(f"{BUILDS} builds accepted, staged, triggered and claimed in {time.perf_counter() - began_at:.1f} s")


async def _measure(pid: int, jenkins: BenchJenkins) -> None:
    cpu_before, _ = usage(pid)
    polls_before = jenkins.polls.total()
    await asyncio.sleep(SECONDS)
    cpu, resident = usage(pid)
    polls = (jenkins.polls.total() - polls_before) / SECONDS
    print(f"running, {LINES_PER_SECOND} lines/s each: {(cpu - cpu_before) / SECONDS:.2f} cores (goal ≤ 1)", end="   ")
    print(f"{resident:.0f} MB (goal ≤ 400)   {polls:.0f} polls/s (budget {POLLS_PER_SECOND})")


async def _restart(shuttle: object, jenkins: BenchJenkins) -> None:
    from tests.product import Process

    assert isinstance(shuttle, Process)
    await shuttle.kill()
    jenkins.polls.clear()
    began_at = time.perf_counter()
    await shuttle.start()
    served = time.perf_counter() - began_at
    while len(jenkins.polls) < BUILDS and time.perf_counter() - began_at < 60:
        await asyncio.sleep(0.02)
    followed = time.perf_counter() - began_at - served
    print(f"after SIGKILL: up in {served:.1f} s, {len(jenkins.polls)} builds followed again", end=" ")
    print(f"{followed:.1f} s later (goal ≤ {RESTART_GOAL_SECONDS:g} s for 500)")


async def _end(jenkins: BenchJenkins, lines: Lines) -> None:
    expected = 0
    for log in jenkins.logs.values():
        assert isinstance(log, SteadyLog)
        log.lines = log.size_bytes() // LINE_BYTES
        expected += log.lines
    async with asyncio.timeout(120), lines.end:
        await lines.end.wait_for(lambda: len(lines.ended) == BUILDS)
    # A line has 31 bytes once CRLF is LF; the rest is the preamble and nothing else.
    received = sum(lines.ended.values())
    print(f"{expected} lines, {received / 1e6:.1f} MB received; every log has come to its end")


if __name__ == "__main__":
    asyncio.run(run())
    sys.exit(0)
