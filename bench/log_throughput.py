"""Measures the log of one build, from an agent to an HTTP sink and the archive, compared with a plain aiohttp copy.

Agent, receiver and Jenkins are in this process; the shuttle and the copy are processes of their own. The copy answers
the same calls of 4 MiB and forwards their bytes in one long request. All configurations are measured alternately and
the best run of each counts, so that a busy machine affects them equally; CPU per gigabyte does not depend on the load.
"""

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web

from bench.product import Shuttle, cpu_seconds, load_average, peak_mib, running_shuttle
from bench.supervisor import FULL_PUSH_BYTES
from tests.support.serving import serving

MIB = 1024 * 1024
LOG_BYTES = 256 * MIB
LINE_BYTES = 80
LARGE_LOG_BYTES = 1024 * MIB
ROUNDS = 3
GOALS = {0: 0.25, 3: 0.25, 20: 0.15}
GOAL_GROWTH_MIB = 30
# The ratio of the speeds, measured when the service still read the log from Jenkins' console.
CONSOLE_RATIO = 0.19


class Speed(NamedTuple):
    """The speed in megabytes (10^6 bytes) of the agent's bytes per second, and CPU seconds per gigabyte."""

    megabytes_per_second: float
    cpu_seconds: float


class Row(NamedTuple):
    """A measurement of the shuttle and of the plain copy."""

    secrets: int
    copy: Speed
    shuttle: Speed

    @property
    def ratio(self) -> float:
        """The shuttle's speed divided by the copy's."""
        return self.shuttle.megabytes_per_second / self.copy.megabytes_per_second

    @property
    def cpu_ratio(self) -> float:
        """The copy's CPU time divided by the shuttle's, for the same bytes."""
        return self.copy.cpu_seconds / self.shuttle.cpu_seconds


# --- the log ---------------------------------------------------------------------------------------------


def secrets(count: int) -> tuple[str, ...]:
    """Random values like registry passwords and tokens."""
    return tuple(f"{number * 2654435761 % 2**32:08x}-Tok/en+{number * 40503 % 65536:04x}" for number in range(count))


@cache
def full_push(line_bytes: int = LINE_BYTES) -> bytes:
    """4 MiB of output; some lines contain a secret or a word beyond ASCII."""
    lines = []
    for number in range(FULL_PUSH_BYTES // line_bytes + 1):
        line = b"[INFO] Compiling module-%05d of the project: gcc -O2 -Wall -c file%d.c -o file%d.o" % ((number,) * 3)
        lines.append((line + b" -I/usr/include" * (line_bytes // 15))[: line_bytes - 1] + b"\n")
        if number % 100 == 0:
            lines.append(b"+ curl -H 'Authorization: %s' x\n" % secrets(3)[number % 3].encode())
        if number % 1000 == 0:
            lines.append("Übersetzt: źródło → wynik\n".encode())
    text = b"".join(lines)[:FULL_PUSH_BYTES]
    return text[: text.rindex(b"\n", 0, -1) + 1].ljust(FULL_PUSH_BYTES - 1, b".") + b"\n"


# --- the receiver ----------------------------------------------------------------------------------------


class Receiver:
    """Discards the bodies of POST /<name>; `bytes_of` and `ended` are kept by name."""

    def __init__(self) -> None:
        self.bytes_of: dict[str, int] = {}
        self._ended: dict[str, asyncio.Event] = {}

    def app(self) -> web.Application:
        """The route."""
        app = web.Application(client_max_size=0)
        app.router.add_post("/{name}", self._take)
        return app

    async def ended(self, name: str) -> int:
        """Wait for the end of the request; returns the number of bytes."""
        await self._ended.setdefault(name, asyncio.Event()).wait()
        return self.bytes_of[name]

    async def _take(self, request: web.Request) -> web.Response:
        name, size = request.match_info["name"], int(request.headers.get("Shuttle-Log-Offset", "0"))
        async for chunk in request.content.iter_any():
            size += len(chunk)
        self.bytes_of[name] = size
        self._ended.setdefault(name, asyncio.Event()).set()
        return web.Response(headers={"Shuttle-Log-Offset": str(size)})


# --- the shuttle and the copy -----------------------------------------------------------------------------


def copy_server(connection: Connection) -> None:
    """The server to compare with, in its own process: forwards the bodies of all calls in one request to each `to`."""
    outgoing: dict[str, asyncio.Queue[bytes]] = {}
    requests: dict[str, asyncio.Task[None]] = {}

    async def pass_on(session: aiohttp.ClientSession, to: str) -> None:
        async def body() -> AsyncIterator[bytes]:
            while chunk := await outgoing[to].get():
                yield chunk

        async with session.post(to, data=body()) as response:
            response.raise_for_status()

    async def serve() -> None:
        async with aiohttp.ClientSession() as session:

            async def post(request: web.Request) -> web.Response:
                to = request.query["to"]
                if to not in outgoing:
                    outgoing[to] = asyncio.Queue(2)
                    requests[to] = asyncio.create_task(pass_on(session, to))
                async for chunk in request.content.iter_any():
                    await outgoing[to].put(chunk)
                if "end" in request.query:
                    await outgoing[to].put(b"")
                    await requests[to]
                return web.Response()

            app = web.Application(client_max_size=0)
            app.router.add_post("/log", post)
            async with serving(app) as url:
                connection.send(url)
                await asyncio.Event().wait()

    asyncio.run(serve())


async def bare_copy(url: str, pid: int, session: aiohttp.ClientSession, receiver_url: str, size_bytes: int) -> Speed:
    """The speed of aiohttp itself, in the process `pid`."""
    began_at, cpu_before = time.perf_counter(), cpu_seconds(pid)
    for number in reversed(range(size_bytes // FULL_PUSH_BYTES)):
        query = {"to": receiver_url} | ({} if number else {"end": "1"})
        async with session.post(f"{url}/log", params=query, data=full_push()) as response:
            response.raise_for_status()
    return _speed(size_bytes, time.perf_counter() - began_at, cpu_seconds(pid) - cpu_before)


async def one_build(
    shuttle: Shuttle, app_id: str, size_bytes: int, *, line_bytes: int = LINE_BYTES, **fields: Any
) -> Speed:
    """From the first push until the log is in every sink and in the archive."""
    supervisor = await shuttle.running(app_id, **fields)
    raw, calls, pid = full_push(line_bytes), size_bytes // FULL_PUSH_BYTES, shuttle.process.pid
    began_at, cpu_before = time.perf_counter(), cpu_seconds(pid)
    for number in range(calls):
        await supervisor.push_all(raw, ended=number == calls - 1)
    shuttle.jenkins.over.add(supervisor.form["JOB"])
    archived = shuttle.folder / "data" / "objects" / f"{supervisor.form['BUILD_UUID']}.log"
    while not archived.exists():
        await asyncio.sleep(0.005)
    build = await shuttle.build(app_id)
    while any(sink["state"] != "done" for sink in build["sinks"]):
        await asyncio.sleep(0.005)
        build = await shuttle.build(app_id)
    seconds, cpu = time.perf_counter() - began_at, cpu_seconds(pid) - cpu_before
    if not build["log"]["bytes"] == archived.stat().st_size > size_bytes / 2:
        raise SystemExit("the archive lacks bytes")
    return _speed(size_bytes, seconds, cpu)


async def measure() -> list[Row]:
    """Measure every configuration alternately; the best of each."""
    ours, theirs = multiprocessing.Pipe()
    copying = multiprocessing.get_context("spawn").Process(target=copy_server, args=(theirs,), daemon=True)
    copying.start()
    copies: list[Speed] = []
    speeds: dict[int, list[Speed]] = {count: [] for count in GOALS}
    receiver = Receiver()
    with tempfile.TemporaryDirectory() as folder:
        async with serving(receiver.app()) as receiver_url, running_shuttle(Path(folder)) as shuttle:
            copy_url = await asyncio.to_thread(ours.recv)
            assert copying.pid is not None
            for number in range(ROUNDS):
                to = f"{receiver_url}/copy-{number}"
                copies.append(await bare_copy(copy_url, copying.pid, shuttle.session, to, LOG_BYTES))
                for count in GOALS:
                    app_id = f"app-{count}-{number}"
                    fields = request(f"{receiver_url}/{app_id}", count)
                    speeds[count].append(await one_build(shuttle, app_id, LOG_BYTES, **fields))
    copying.kill()
    return [Row(count, _best(copies), _best(of_count)) for count, of_count in speeds.items()]


def _speed(size_bytes: int, seconds: float, cpu: float) -> Speed:
    return Speed(size_bytes / 1e6 / seconds, cpu / (size_bytes / 1e9))


def _best(speeds: Sequence[Speed]) -> Speed:
    return Speed(max(speed.megabytes_per_second for speed in speeds), min(speed.cpu_seconds for speed in speeds))


def request(sink: str, secret_count: int) -> dict[str, Any]:
    """The fields of a build with `secret_count` secrets whose log is sent to `sink`."""
    arguments = {f"SECRET_{number}": value for number, value in enumerate(secrets(secret_count))}
    return {"webhooks": {"logs": sink}, "arguments": arguments, "secret_arguments": list(arguments)}


async def measure_growth() -> float:
    """The growth of the peak RSS in MiB, compared with a small log."""
    receiver = Receiver()
    with tempfile.TemporaryDirectory() as folder:
        async with serving(receiver.app()) as receiver_url, running_shuttle(Path(folder)) as shuttle:
            await one_build(shuttle, "small", 8 * MIB, **request(f"{receiver_url}/small", 3))
            before = peak_mib(shuttle.process.pid)
            await one_build(shuttle, "large", LARGE_LOG_BYTES, **request(f"{receiver_url}/large", 3))
            return peak_mib(shuttle.process.pid) - before


def run() -> list[Row]:
    """Measure and print; returns the rows by number of secrets."""
    print(f"one build's log of {LOG_BYTES // MIB} MiB: pushes → transform → spool → HTTP sink → archive, MB/s")
    rows = asyncio.run(measure())
    print(f"{'':>8} {'bare copy':>17} {'shuttle':>17} {'ratio':>13}   {load_average()}")
    print(f"{'secrets':>8} {'MB/s':>8} {'CPU s/GB':>8} {'MB/s':>8} {'CPU s/GB':>8} {'of both':>13} {'goal':>6}")
    for row in rows:
        speeds = " ".join(
            f"{way.megabytes_per_second:>8.0f} {way.cpu_seconds:>8.2f}" for way in (row.copy, row.shuttle)
        )
        print(
            f"{row.secrets:>8} {speeds} {row.ratio:>6.2f} {row.cpu_ratio:>6.2f} {GOALS[row.secrets]:>6.2f}", flush=True
        )
    print(f"ratio when the log was read from Jenkins' console: {CONSOLE_RATIO}")
    growth = asyncio.run(measure_growth())
    print(f"RSS growth for a log of {LARGE_LOG_BYTES // MIB} MiB: {growth:.0f} MiB (goal: at most {GOAL_GROWTH_MIB})")
    return rows


def main() -> int:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
