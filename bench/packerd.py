"""Measures packer over REST: accepted requests, reads of a run whose log has 100 MB, and builds (`packerd_builds`).

The requests are measured alternately with those of a handler that makes one insert, in processes of their own, as
`bench.accept` does. The reads are made by a process of their own, too: a client in the service's loop would be measured
as well.
"""

import asyncio
import http.client
import io
import json
import multiprocessing
import socket
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench.accept import CONNECTIONS, ROUNDS, Requests, bare_server, load, serving, shuttle_server
from bench.packerd_builds import build_null, run_queue
from bench.product import load_average

# Half of the goal of `bench.accept`: each request is read as one of this API, and then as one of the new API.
GOAL = 0.5 * 0.5
LOG_BYTES = 100 * 1000 * 1000
READS = 300
_LINE = b"==> docker-ubuntu: Unpacking libc6:amd64 (2.36-9) over (2.36-8) ...\n"
_PUSH_BYTES = 4 * 1024 * 1024


def packer_requests(git_port: int) -> Requests:
    """Requests for templates; the repository of a connection is its own, so its builds are those of an app."""

    def request(lane: str, number: int) -> tuple[str, bytes]:
        body = {
            "giturl": f"http://127.0.0.1:{git_port}/{lane}.git",
            "branch": "demo",
            "templatepath": "packer.json",
            "buildvars": [
                {"key": "version", "value": str(number)},
                {"key": "docker_repo_password", "value": "hunter-2-hunter"},
            ],
        }
        return "-/packerd/build", json.dumps(body).encode()

    return request


def bare_requests(requests: Requests) -> Requests:
    """The same bodies for the handler to compare with."""
    return lambda lane, number: (f"{lane}/{number}", requests(lane, number)[1])


def accepted() -> None:
    """Print the table of accepted requests."""
    from tests.support.free_port import free_port

    bare_port, port = free_port(), free_port()
    print("accepted POST /-/packerd/build per second, durable before the answer")
    print(f"{'connections':>12} {'bare':>8} {'shuttle':>8} {'ratio':>6}   goal {GOAL:.2f} at 1 and 50")
    # The git server accepts connections but sends nothing, so that staging takes no CPU time, as in `bench.accept`.
    with (
        socket.create_server(("127.0.0.1", 0), backlog=4096) as silent,
        serving(bare_server, bare_port, {}),
        serving(shuttle_server, port, {}),
    ):
        requests = packer_requests(silent.getsockname()[1])
        bare = bare_requests(requests)
        for connections in CONNECTIONS:
            pairs = [
                (_speed(bare_port, connections, number, bare), _speed(port, connections, number, requests))
                for number in range(ROUNDS)
            ]
            others, ours = (statistics.median(each) for each in zip(*pairs, strict=True))
            ratio = statistics.median(own / other for other, own in pairs)
            print(f"{connections:>12} {others:>8.0f} {ours:>8.0f} {ratio:>6.2f}")


def _speed(port: int, connections: int, number: int, requests: Requests) -> float:
    return asyncio.run(load(port, connections, f"c{connections}-{number}", requests))


async def read_long_log(folder: Path) -> None:
    """Print how long reading the run takes, while it runs and after its end."""
    from tests.contract.packerd.caller import Packerd
    from tests.support.git_server import git_server
    from tests.support.inprocess import running_jenkins, running_shuttle

    async with (
        git_server(folder) as git,
        running_jenkins(folder) as jenkins,
        running_shuttle(folder, jenkins.url, SHUTTLE_JENKINS_AGENT_LABEL="nowhere") as shuttle,
    ):
        git.repository("demo").commit({"packer.json": "{}"})
        packerd = Packerd(shuttle)
        request_id = await packerd.build(f"{git.url}/demo.git", branch="main")
        agent = await packerd.agent(request_id)
        await agent.begin("RunPacker")
        block = _LINE * (_PUSH_BYTES // len(_LINE))
        pushed = 0
        while pushed < LOG_BYTES:
            answer = await agent.agent.push(io.BytesIO(block))
            if answer.status != 200:
                raise SystemExit(f"unexpected: {answer.status} {answer.text}")
            pushed += len(block)
        what = f"GET of a run with a log of {pushed / 1e6:.0f} MB"
        path = f"/-/packerd/build/responses/{request_id}/0"
        print(f"{what}, while it runs: {await _percentiles(shuttle.port, path)}")
        await agent.end("RunPacker")
        await agent.agent.end()
        await packerd.until_over(request_id)
        await shuttle.until_settled(request_id, seconds=60)
        print(f"{what}, archived: {await _percentiles(shuttle.port, path)}")


async def _percentiles(port: int, path: str) -> str:
    """The median and p99 of reads, one after the other, and the CPU time that each costs the service."""
    began = time.process_time()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        took = await asyncio.get_running_loop().run_in_executor(process, read_milliseconds, port, path)
    p50, p99 = statistics.median(took), statistics.quantiles(took, n=100)[98]
    cpu = (time.process_time() - began) * 1000 / READS
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms (goal 20), CPU {cpu:.1f} ms   {load_average()}"


def read_milliseconds(port: int, path: str) -> list[float]:
    """How long each of READS reads takes."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    took = []
    for _ in range(READS):
        began = time.perf_counter()
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        took.append((time.perf_counter() - began) * 1000)
        if response.status != 200:
            raise SystemExit(f"unexpected: {response.status} {body[:200]!r}")
    connection.close()
    return took


def main() -> int:
    """Print all figures."""
    accepted()
    for measure in (read_long_log, run_queue, build_null):
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
