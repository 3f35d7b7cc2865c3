"""Measures the build state record: states per second beside a bare durable insert, and the latency of its reads.

Servers and load generator are separate processes on loopback; the servers are measured alternately.
"""

import asyncio
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from bench.accept import bare_server, serving, shuttle_server

SECONDS = 2.0
ROUNDS = 3
CONNECTIONS = (1, 50)
RECORDS = 100_000
READS = 300
# Newest builds, filters that all records pass or none, and a page far down.
LISTS = (
    "limit=100",
    "limit=100&status=running",
    "limit=100&status=failed",
    "limit=100&project_id=default",
    "limit=100&project_id=default&status=failed",
    "limit=100&platform=aws",
    "limit=100&platform=gcp",
    "limit=100&skip=50000",
)
_TOKEN = "controller-token-of-the-bench"
_HEADERS = {"X-API-Key": _TOKEN}


async def states_per_second(session: aiohttp.ClientSession, url: str, lanes: int) -> float:
    """States that are reported over `lanes` connections, each of its own build."""
    builds = [await _created(session, url, f"{time.monotonic_ns()}") for _ in range(lanes)]
    return await _per_second(
        session, [f"{url}/-/state/builds/{build}/states" for build in builds], {"state": 10, "status": "x"}
    )


async def inserts_per_second(session: aiohttp.ClientSession, url: str, lanes: int) -> float:
    """Bare inserts over `lanes` connections."""
    return await _per_second(session, [f"{url}/a/{lane}" for lane in range(lanes)], {"state": 10, "status": "x"})


async def _per_second(session: aiohttp.ClientSession, urls: list[str], body: dict[str, object]) -> float:
    done, ends_at = 0, time.perf_counter() + SECONDS

    async def post(url: str) -> None:
        nonlocal done
        number = 0
        while time.perf_counter() < ends_at:
            number += 1
            # Equal reports in a row are one state.
            async with session.post(url, json={**body, "status": f"s{number}"}, headers=_HEADERS) as response:
                if response.status not in {200, 201}:
                    raise SystemExit(f"unexpected: {response.status} {await response.text()}")
                await response.read()
            done += 1

    started = time.perf_counter()
    await asyncio.gather(*(post(url) for url in urls))
    return done / (time.perf_counter() - started)


async def _created(session: aiohttp.ClientSession, url: str, number: str) -> str:
    body = {"build_number": number, "platform": "aws"}
    async with session.post(f"{url}/-/state/builds", json=body, headers=_HEADERS) as response:
        return str((await response.json())["id"])


async def p99_seconds(session: aiohttp.ClientSession, url: str) -> float:
    """The time that 99 of 100 reads take at most, one after the other."""
    took = []
    for _ in range(READS):
        began = time.perf_counter()
        async with session.get(url, headers=_HEADERS) as response:
            await response.read()
        took.append(time.perf_counter() - began)
    return statistics.quantiles(took, n=100)[98]


def fill(database: Path, build: str) -> None:
    """Copy the row of a record until there are RECORDS of them."""
    with sqlite3.connect(database) as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(builds)") if row[1] != "position"]
        own = {"build_uuid": "lower(hex(randomblob(16)))", "build_id": "'r' || value"}
        values = ", ".join(own.get(name, name) for name in names)
        connection.execute(
            f"WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < {RECORDS})"
            f" INSERT INTO builds ({', '.join(names)}) SELECT {values} FROM builds, n WHERE build_uuid = ?",
            (build,),
        )
    connection.close()


async def measure(folder: Path, bare_url: str, url: str) -> None:
    """Print all figures."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for lanes in CONNECTIONS:
            pairs = [
                (await inserts_per_second(session, bare_url, lanes), await states_per_second(session, url, lanes))
                for _ in range(ROUNDS)
            ]
            bare, states = (statistics.median(each) for each in zip(*pairs, strict=True))
            ratio = statistics.median(each / other for other, each in pairs)
            print(f"{lanes} connections: {states:.0f} states/s, bare insert {bare:.0f}/s, ratio {ratio:.2f}")
        build = await _created(session, url, "read")
        for number in range(200):
            body = {"state": number // 2, "status": f"s{number}", "final": False}
            await session.post(f"{url}/-/state/builds/{build}/states", json=body, headers=_HEADERS)
        took = await p99_seconds(session, f"{url}/-/state/builds/{build}")
        print(f"GET of a build with 200 states: p99 {took * 1000:.1f} ms")
        await asyncio.to_thread(fill, folder / "shuttle.db", build)
        for query in LISTS:
            took = await p99_seconds(session, f"{url}/-/state/builds?{query}")
            print(f"list of 100 of {RECORDS} ({query}): p99 {took * 1000:.1f} ms")
        took = await asyncio.to_thread(_add_state_seconds, url, build)
        print(f"bldst build add-state: {took * 1000:.0f} ms (median of 15 processes)")


def _add_state_seconds(url: str, build: str) -> float:
    environment = {"BLDST_API_URL": f"{url}/-/state", "BLDST_API_KEY": _TOKEN, "HOME": "/nonexistent"}
    took = []
    for number in range(15):
        command = [sys.executable, "-m", "bldst", "build", "add-state", build, "--state", "5", "--status", str(number)]
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=environment)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def main() -> int:
    """Start both servers, and measure."""
    from tests.support.free_port import free_port

    bare_port, port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        # The later setting wins, so the folder is known here, to fill its database.
        settings = {"SHUTTLE_TOKENS": f"controller:{_TOKEN}", "SHUTTLE_DATA_DIR": folder}
        with serving(bare_server, bare_port, {}), serving(shuttle_server, port, settings):
            asyncio.run(measure(Path(folder), f"http://127.0.0.1:{bare_port}", f"http://127.0.0.1:{port}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
