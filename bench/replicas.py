"""Three replicas on PostgreSQL and S3 behind a balancer: cost when idle and with many builds, takeover after SIGKILL.

Supervisors, Jenkins, receiver and balancer are in this process; replicas, PostgreSQL and the S3 server have their own.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from cryptography.fernet import Fernet

from bench.jenkins import BenchJenkins
from bench.product import Shuttle, cpu_seconds, load_average, resident_mib
from bench.scale import LINES_PER_SECOND, Lines, SteadyBuild, begin, end
from shuttle.cli.demo.balancer import Balancer
from shuttle.serve import raise_open_files_limit
from tests.support.free_port import free_port
from tests.support.postgres_server import PostgresServer, running_postgres
from tests.support.product import Process
from tests.support.s3_server import bucket_of, settings_for
from tests.support.serving import serving

REPLICAS = 3
BUILDS = int(os.environ.get("BENCH_BUILDS", "300"))
# The value of SHUTTLE_AGENT_CALLS_PER_SECOND. Replicas and PostgreSQL spend most of their CPU time on these calls, and
# they share this machine with the imitated agents, Jenkins, receiver and balancer.
AGENT_CALLS_PER_SECOND = os.environ.get("BENCH_AGENT_CALLS", "200")
SECONDS = 20.0
# The defaults of SHUTTLE_HEARTBEAT_SECONDS and SHUTTLE_LEASE_SECONDS.
LEASE_SECONDS = 15.0
TAKEOVER_GOAL_SECONDS = 30.0
IDLE_GOAL = 2.0


@dataclass(frozen=True, slots=True)
class Replicas:
    """The running replicas; `shuttle` calls them by the balancer."""

    shuttle: Shuttle
    processes: dict[str, Process]
    postgres: PostgresServer


async def run() -> None:
    """Print the figures."""
    raise_open_files_limit()
    lines = Lines()
    receiver = web.Application(client_max_size=0)
    receiver.router.add_post("/log", lines.take)
    async with serving(receiver) as receiver_url, _replicas() as replicas, _agents() as agents:
        await asyncio.sleep(10)
        await _measure(replicas, "idle", f" (goal ≤ {IDLE_GOAL:g} a replica)")
        builds = await begin(replicas.shuttle, agents, f"{receiver_url}/log", 0, BUILDS)
        await asyncio.sleep(10)
        await _measure(replicas, f"{BUILDS} builds, {LINES_PER_SECOND} lines/s each")
        await _take_over(replicas, builds)
        await end(builds, lines)


def _agents() -> aiohttp.ClientSession:
    """An agent makes a new connection for each call."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))


@asynccontextmanager
async def _replicas() -> AsyncIterator[Replicas]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        postgres = stack.enter_context(running_postgres({"fsync": "on", "max_connections": "100"}))
        jenkins = BenchJenkins()
        jenkins_url = await stack.enter_async_context(serving(jenkins.app()))
        ports = [free_port() for _ in range(REPLICAS)]
        balancer = Balancer(ports)
        stack.push_async_callback(balancer.close)
        await balancer.start()
        shared = {
            "DATABASE_URL": postgres.new_url(),
            "SHUTTLE_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
            "JENKINS_URL": jenkins_url.replace("://", "://u:t@"),
            "BUILD_SHUTTLE_HOST": balancer.url,
            "MAXIMUM_PARALLEL_BUILDS": str(BUILDS),
            "SHUTTLE_AGENT_CALLS_PER_SECOND": AGENT_CALLS_PER_SECOND,
            **await _bucket(stack, folder),
        }
        processes = {}
        for number, port in enumerate(ports, start=1):
            name, directory = f"replica-{number}", folder / str(number)
            own = {"PORT": str(port), "SHUTTLE_DATA_DIR": str(directory), "SHUTTLE_REPLICA_NAME": name}
            probe = f"http://127.0.0.1:{port}/-/openapi.json"
            processes[name] = Process(["serve"], shared | own, probe, folder / f"{number}.out")
            stack.push_async_callback(processes[name].kill)
        await asyncio.gather(*(process.start() for process in processes.values()))
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100)))
        any_process = next(iter(processes.values()))
        yield Replicas(Shuttle(balancer.url, folder, any_process, jenkins, session), processes, postgres)


async def _bucket(stack: AsyncExitStack, folder: Path) -> dict[str, str]:
    """Start an S3 server in a process of its own, and make a bucket; returns its settings."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with (folder / "s3.out").open("wb") as output:
        command = (sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port))
        server = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)

    async def stop() -> None:
        server.kill()
        await server.wait()

    stack.push_async_callback(stop)
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(endpoint):
                    break
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
    bucket, _ = stack.enter_context(bucket_of(endpoint))
    return settings_for(endpoint, bucket)


async def _measure(replicas: Replicas, what: str, goal: str = "") -> None:
    pids = {name: process.pid for name, process in replicas.processes.items()}
    cpu_before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    database_before, transactions_before = _database_cpu_seconds(replicas), _transactions(replicas)
    await asyncio.sleep(SECONDS)
    cores = [f"{(cpu_seconds(pid) - cpu_before[name]) / SECONDS:.2f}" for name, pid in pids.items()]
    memory = [f"{resident_mib(pid):.0f}" for pid in pids.values()]
    # The question itself is one transaction.
    transactions = (_transactions(replicas) - transactions_before - 1) / SECONDS
    database = (_database_cpu_seconds(replicas) - database_before) / SECONDS
    print(f"{what}: cores {' '.join(cores)}   MB {' '.join(memory)}", end="   ")
    print(f"PostgreSQL: {transactions / REPLICAS:.1f} transactions/s a replica{goal}, {database:.2f} cores", end="   ")
    print(load_average(), flush=True)


def _transactions(replicas: Replicas) -> int:
    """All transactions so far; a connection reports its own up to a second later."""
    [[found]] = replicas.postgres.execute("SELECT sum(xact_commit + xact_rollback)::bigint FROM pg_stat_database")
    return int(str(found))


def _database_cpu_seconds(replicas: Replicas) -> float:
    server, *connections = replicas.postgres.pids()
    used = cpu_seconds(server, with_children=True)
    for pid in connections:
        with suppress(FileNotFoundError):  # it has ended, and is among the server's children that it waited for
            used += cpu_seconds(pid)
    return used


async def _take_over(replicas: Replicas, builds: list[SteadyBuild]) -> None:
    """Kill the replica with the most builds. A build is followed again when its new owner has answered a push."""
    owned = await _owned(replicas)
    lost = max(owned, key=lambda name: owned[name])
    await replicas.processes.pop(lost).kill()
    killed_at = time.perf_counter()
    await asyncio.sleep(0.1)  # the responses of the killed process have arrived
    offsets = [build.offset for build in builds]
    followed = 0
    while followed < len(builds) and time.perf_counter() - killed_at < 120:
        await asyncio.sleep(0.02)
        followed = sum(build.offset > offset for build, offset in zip(builds, offsets, strict=True))
    seconds = time.perf_counter() - killed_at
    print(
        f"{lost} killed with {owned[lost]} of {len(builds)} builds: {followed} followed after {seconds:.1f} s", end=" "
    )
    print(f"(lease {LEASE_SECONDS:g} s; goal ≤ {TAKEOVER_GOAL_SECONDS:g} s)   {load_average()}", flush=True)
    print(f"builds of each replica afterwards: {await _owned(replicas)}", flush=True)


async def _owned(replicas: Replicas) -> dict[str, int]:
    async with replicas.shuttle.session.get(f"{replicas.shuttle.url}/-/replicas") as response:
        answer: dict[str, Any] = await response.json()
    return {replica["name"]: replica["builds"] for replica in answer["replicas"]}


def main() -> int:
    """Print the figures."""
    asyncio.run(run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
