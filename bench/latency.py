"""From a line's visibility in Jenkins to the log sink, for one build whose log flows.

The Jenkins here is a bench server that makes a line visible and notes when; so nothing of a shell is measured.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from aiohttp import web

from bench.jenkins import BenchJenkins, serving

LINES = 400
EVERY_SECONDS = 0.02


class TimedLog:
    """A text that grows by a line every 20 ms and remembers when each became visible."""

    def __init__(self) -> None:
        self.text = bytearray()
        self.visible_at: list[float] = []
        self.is_done = False

    def size_bytes(self) -> int:
        return len(self.text)

    def done(self) -> bool:
        return self.is_done

    def read(self, start: int, end: int) -> bytes:
        return bytes(self.text[start:end])

    async def flow(self) -> None:
        """Make the lines visible."""
        for number in range(LINES):
            self.text += b"line %d\r\n" % number
            self.visible_at.append(time.perf_counter())
            await asyncio.sleep(EVERY_SECONDS)
        self.is_done = True


async def run() -> list[float]:
    """Seconds from visible to received, for each line."""
    from tests.product import FAST, Process, data_url, free_port

    received: dict[int, float] = {}
    finished = asyncio.Event()

    async def sink(request: web.Request) -> web.Response:
        rest = b""
        async for chunk in request.content.iter_any():
            now = time.perf_counter()
            *lines, rest = (rest + chunk).split(b"\n")
            received.update({int(line[5:]): now for line in lines if line.startswith(b"line ")})
        finished.set()
        return web.Response()

    jenkins, log = BenchJenkins(), TimedLog()
    receiver = web.Application(client_max_size=0)
    receiver.router.add_post("/log", sink)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        async with serving(jenkins.app()) as jenkins_url, serving(receiver) as receiver_url:
            environment = {**FAST, "PORT": str(port), "SHUTTLE_DATA_DIR": folder}
            environment["JENKINS_URL"] = jenkins_url.replace("://", "://u:t@")
            url = f"http://127.0.0.1:{port}"
            shuttle = Process(["serve"], environment, f"{url}/healthz", Path(folder) / "out")
            await shuttle.start()
            try:
                await _submit_and_claim(url, data_url({"build.sh": ""}), f"{receiver_url}/log", jenkins, log)
                await log.flow()
                await asyncio.wait_for(finished.wait(), 30)
            finally:
                await shuttle.kill()
    return [received[number] - visible_at for number, visible_at in enumerate(log.visible_at)]


async def _submit_and_claim(url: str, source: str, sink: str, jenkins: BenchJenkins, log: TimedLog) -> None:
    body = {"source": {"url": source}, "pipeline": "script", "webhooks": {"logs": sink}}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{url}/app/1", json=body) as response:
            response.raise_for_status()
        async with jenkins.triggered:
            await jenkins.triggered.wait_for(lambda: jenkins.forms)
        [job] = jenkins.forms
        jenkins.logs[job] = log
        await jenkins.claim(session, url, job)


def main() -> int:
    """Print the percentiles."""
    latencies = sorted(seconds * 1000 for seconds in asyncio.run(run()))
    p99 = latencies[int(len(latencies) * 0.99)]
    print(f"visible in Jenkins → at the sink, {len(latencies)} lines, one every {EVERY_SECONDS * 1000:.0f} ms")
    print(f"p50 {statistics.median(latencies):.0f} ms (goal ≤ 60)   p99 {p99:.0f} ms (goal ≤ 250)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
