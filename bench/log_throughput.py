"""One build's log, Jenkins to archive, beside a bare aiohttp copy of the same bytes; and what a 1 GiB log adds to RSS.

The far ends (a Jenkins that streams, a receiver that reads) are one process; copy and shuttle are another, with one
loop. Both ways take turns and the best of each counts, so that a busy machine touches them alike.
"""

import argparse
import asyncio
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    from shuttle.sinks import SinkTarget
    from shuttle.sinks.carry import Sender

MIB = 1024 * 1024
LOG_BYTES = 256 * MIB
LINE_BYTES = 80
LARGE_LOG_BYTES = 1024 * MIB
ROUNDS = 3
GOALS = {0: 0.2, 3: 0.2, 20: 0.1}
GOAL_GROWTH_MIB = 30


class Row(NamedTuple):
    """One measured way, in megabytes (10^6) of Jenkins' text a second."""

    secrets: int
    copy_megabytes_per_second: float
    shuttle_megabytes_per_second: float

    @property
    def ratio(self) -> float:
        """The shuttle's share of the copy's speed."""
        return self.shuttle_megabytes_per_second / self.copy_megabytes_per_second


# --- the far ends -------------------------------------------------------------------------------------


def secrets(count: int) -> tuple[str, ...]:
    """Values like registry passwords and tokens."""
    return tuple(f"{number * 2654435761 % 2**32:08x}-Tok/en+{number * 40503 % 65536:04x}" for number in range(count))


@cache
def console_block(line_bytes: int = LINE_BYTES) -> bytes:
    """About a mebibyte as Jenkins sends it: CRLF, engine lines, here and there a secret and a word beyond ASCII."""
    lines = []
    for number in range(MIB // line_bytes):
        line = b"[INFO] Compiling module-%05d of the project: gcc -O2 -Wall -c file%d.c -o file%d.o" % ((number,) * 3)
        lines.append((line + b" -I/usr/include" * (line_bytes // 15))[:line_bytes] + b"\r\n")
        if number % 100 == 0:
            lines.append(b"[Pipeline] sh\r\n+ curl -H 'Authorization: %s' x\r\n" % secrets(3)[number % 3].encode())
        if number % 1000 == 0:
            lines.append("Übersetzt: źródło → wynik\r\n".encode())
    return b"".join(lines)


def far_ends(told: Connection) -> None:
    """GET /log?bytes=N&line_bytes=N streams a console; POST /log reads and drops."""

    async def get(request: web.Request) -> web.StreamResponse:
        block = console_block(int(request.query.get("line_bytes", LINE_BYTES)))
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(int(request.query["bytes"]) // len(block)):
            for at in range(0, len(block), 128 * 1024):
                await response.write(block[at : at + 128 * 1024])
        return response

    async def post(request: web.Request) -> web.Response:
        received = 0
        async for chunk in request.content.iter_any():
            received += len(chunk)
        return web.Response(headers={"Received": str(received)})

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/log", get)
        app.router.add_post("/log", post)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        told.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(serve())


class Ledger:
    """A SinkLedger that checks the one thing that matters here: the log arrived, whole."""

    done_bytes = -1

    async def acknowledged(self, sink_id: int, offset: int) -> None:
        """Not of interest."""

    async def failing(self, _sink_id: int, error: str) -> None:
        """Nothing may fail in a benchmark."""
        raise SystemExit(error)

    async def live(self, sink_id: int) -> None:
        """Not of interest."""

    async def went_over(self, sink_id: int, over: object) -> None: ...

    async def done(self, _sink_id: int, offset: int) -> None:
        """Keep what arrived."""
        self.done_bytes = offset

    async def gave_up(self, _sink_id: int, error: str) -> None:
        """Nothing may fail in a benchmark."""
        raise SystemExit(error)


# --- the two ways -------------------------------------------------------------------------------------


async def bare_copy(url: str, size_bytes: int) -> None:
    """What aiohttp itself can do: a streamed GET is the body of a POST."""

    async def body(source: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        async for chunk in source.content.iter_any():
            yield chunk

    async with (
        aiohttp.ClientSession() as session,
        session.get(url, params={"bytes": size_bytes}) as source,
        session.post(url, data=body(source)) as answer,
    ):
        answer.raise_for_status()


async def shuttle(
    url: str, size_bytes: int, secret_count: int, *, further: Sequence[tuple["Sender", "SinkTarget"]] = ()
) -> None:
    """The product's way: transform, spool, sinks beside it (to HTTP, and `further` ones), archive at the end."""
    from shuttle.logs import LogRules
    from shuttle.logs.archive import archive, digest
    from shuttle.logs.spool import Spool
    from shuttle.logs.transform import LogTransform
    from shuttle.objects.directory import DirectoryStore
    from shuttle.outgoing.connector import AddressPolicy, outgoing_session
    from shuttle.sinks import SinkTarget
    from shuttle.sinks.carry import Carrier, Tries
    from shuttle.sinks.far_ends import FarEnds
    from shuttle.sinks.http import HttpSender

    with tempfile.TemporaryDirectory() as folder:
        async with aiohttp.ClientSession() as jenkins, outgoing_session(AddressPolicy(allow_loopback=True)) as out:
            spool = Spool(Path(folder) / "spool")
            transform = LogTransform(LogRules(secrets=secrets(secret_count)))
            target = SinkTarget(sink_id=1, build_uuid="u", app_id="a", build_id="b", metadata_json="null", url=url)
            ended_at = datetime.now(UTC)
            ways = [(Ledger(), sender, to) for sender, to in ((HttpSender(out), target), *further)]
            carried = asyncio.gather(
                *(
                    Carrier(each, Tries(), FarEnds()).carry(to, spool, ledger, lambda: ended_at)
                    for ledger, each, to in ways
                )
            )
            async with jenkins.get(url, params={"bytes": size_bytes}) as source:
                async for chunk in source.content.iter_any():
                    spool.append(transform.feed(chunk))
            spool.append(transform.finish())
            spool.end()
            objects = DirectoryStore(Path(folder) / "objects")
            archived_bytes, _ = await asyncio.to_thread(digest, spool.path)
            await archive(spool.path, objects, "u.log")
            await carried
            await objects.close()
            if {archived_bytes, *(ledger.done_bytes for ledger, *_ in ways)} != {transform.written_bytes}:
                raise SystemExit("a sink or the archive lacks bytes")


def megabytes_per_second(way: object, *arguments: object) -> float:
    """One run."""
    started = time.perf_counter()
    asyncio.run(way(*arguments))  # type: ignore[operator]
    return LOG_BYTES / 1e6 / (time.perf_counter() - started)


def measure_rows(told: Connection, url: str) -> None:
    """In a process of its own: every way in turns, the best of each."""
    copies: list[float] = []
    ours: dict[int, list[float]] = {count: [] for count in GOALS}
    for _ in range(ROUNDS):
        copies.append(megabytes_per_second(bare_copy, url, LOG_BYTES))
        for count, speeds in ours.items():
            speeds.append(megabytes_per_second(shuttle, url, LOG_BYTES, count))
    told.send([Row(count, max(copies), max(speeds)) for count, speeds in ours.items()])


def measure_growth(told: Connection, url: str) -> None:
    """In a process of its own: the peak of RSS in MiB over what a small log needs."""
    asyncio.run(shuttle(url, 8 * MIB, 3))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asyncio.run(shuttle(url, LARGE_LOG_BYTES, 3))
    told.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def in_process(work: object, *arguments: object) -> object:
    """The answer of `work`, run in a fresh process."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=work, args=(theirs, *arguments), daemon=True)  # type: ignore[arg-type]
    process.start()
    theirs.close()
    answer = ours.recv()
    process.join(0 if work is far_ends else None)
    return answer


def run() -> list[Row]:
    """Measure and print; the rows by number of secrets."""
    url = f"http://127.0.0.1:{in_process(far_ends)}/log"
    rows = in_process(measure_rows, url)
    assert isinstance(rows, list)
    print(f"one build's log of {LOG_BYTES // MIB} MiB: Jenkins → transform → spool → HTTP sink → archive, MB/s")
    print(f"{'secrets':>8} {'bare copy':>10} {'shuttle':>8} {'ratio':>6} {'goal':>6}")
    for row in rows:
        print(
            f"{row.secrets:>8} {row.copy_megabytes_per_second:>10.0f} {row.shuttle_megabytes_per_second:>8.0f}"
            f" {row.ratio:>6.2f} {GOALS[row.secrets]:>6.2f}"
        )
    growth = in_process(measure_growth, url)
    print(f"RSS growth for a log of {LARGE_LOG_BYTES // MIB} MiB: {growth:.0f} MiB (goal: at most {GOAL_GROWTH_MIB})")
    return rows


def main() -> int:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
