"""Measures the service's memory under misuse: endless heads and bodies, readers that read nothing, large JSON."""

import argparse
import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MIB = 1024 * 1024
_APP = "shop-11111111-1111-4111-8111-111111111111"
_LOG_BYTES = 40 * MIB
_OPEN_FILES = 1024

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Service:
    """`shuttle serve` in its own process."""

    port: int
    process: asyncio.subprocess.Process
    errors: Path

    @property
    def resident_mib(self) -> float:
        """The resident memory of the process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / MIB

    async def connect(self) -> Connection:
        """Open a connection without sending anything."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def status(self, request: bytes) -> str:
        """The status line of the response to a request, or why there is none."""
        try:
            async with asyncio.timeout(60):
                reader, writer = await self.connect()
                writer.write(request)
                line = await reader.readline()
                writer.close()
        except (OSError, TimeoutError) as error:
            return type(error).__name__
        return line.decode().strip() or "closed"

    async def peak_mib(self, seconds: float) -> float:
        """The highest resident memory within these seconds."""
        peak, until = 0.0, time.monotonic() + seconds
        while time.monotonic() < until:
            peak = max(peak, self.resident_mib)
            await asyncio.sleep(0.1)
        return peak


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Service]:
    """Run the service over an empty data directory, with 1,024 open files."""
    port = 20_000 + os.getpid() % 10_000
    data = folder / "data"
    log = log_path(data)
    log.parent.mkdir(parents=True)
    log.write_bytes(b"a line of the log\n" * (_LOG_BYTES // 18))
    errors = folder / "errors"
    environment = {
        **os.environ,
        "PORT": str(port),
        "SHUTTLE_DATA_DIR": str(data),
        "JENKINS_URL": "http://user:token@127.0.0.1:9/",
    }
    with errors.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            "prlimit",
            f"--nofile={_OPEN_FILES}:{_OPEN_FILES}",
            sys.executable,
            "-m",
            "shuttle",
            "serve",
            env=environment,
            stderr=file,
        )
    service = Service(port, process, errors)
    try:
        async with asyncio.timeout(30):
            while "200" not in await service.status(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"):
                await asyncio.sleep(0.1)
        yield service
    finally:
        process.terminate()
        await process.wait()


def log_path(data: Path) -> Path:
    """The path of an old shuttle's log in the object directory."""
    from shuttle.objects.directory import DirectoryStore
    from shuttle.objects.names import legacy_log_object

    return DirectoryStore(data / "objects").path_of(legacy_log_object(_APP, "1"))


async def unfinished_heads(service: Service) -> None:
    """1,500 connections: half of them send nothing, the others a part of a head."""
    began_at = time.monotonic()
    connections: list[Connection] = []
    for number in range(1500):
        with suppress(OSError):
            connection = await service.connect()
            if number % 2:
                connection[1].write(b"GET / HTTP/1.1\r\nX-Half: ")
            connections.append(connection)
    answers = [await service.status(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(3)]
    print(f"  {len(connections)} connections; /healthz beside them: {answers}")
    await asyncio.sleep(max(0.0, began_at + 20 - time.monotonic()))
    print(f"  after 20 s: stderr has {service.errors.stat().st_size / 1024:.0f} KiB")
    closed = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(30):
            for reader, _ in connections:
                with suppress(OSError):
                    await reader.read()
                closed += 1
    print(f"  after {time.monotonic() - began_at:.0f} s: the service has closed {closed}")
    for _, writer in connections:
        writer.close()


async def endless_bodies(service: Service) -> None:
    """Eight bodies of 60 MB whose last byte is never sent."""
    size = 60_000_000
    head = (
        f"POST /app/1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n".encode()
    )
    began_at = time.monotonic()
    connections = [await service.connect() for _ in range(8)]

    async def send(writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            writer.write(head)
            for _ in range(size // 1_000_000 - 1):
                writer.write(b" " * 1_000_000)
                await writer.drain()

    await asyncio.gather(*(send(writer) for _, writer in connections))
    print(f"  sent: {service.resident_mib:.0f} MiB")

    async def answer(reader: asyncio.StreamReader) -> str:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(70):
                return (await reader.readline()).decode().strip() or "closed"
        return "nothing"

    answers = await asyncio.gather(*(answer(reader) for reader, _ in connections))
    print(f"  after {time.monotonic() - began_at:.0f} s: {set(answers)}, {service.resident_mib:.0f} MiB")
    for _, writer in connections:
        writer.close()


async def idle_readers(service: Service) -> None:
    """100 readers of a log of 40 MiB that read nothing."""
    connections = [await service.connect() for _ in range(100)]
    for _, writer in connections:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(f"GET /{_APP}/1/logs HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    print(f"  while they wait: {await service.peak_mib(10):.0f} MiB")
    for _, writer in connections:
        writer.transport.abort()


async def large_json(service: Service) -> None:
    """Six at a time, bodies of 20 to 60 MB of JSON that are no valid request, or have an unknown field."""
    source = {"url": "http://127.0.0.1:9/a.tar.gz"}
    bodies = [
        json.dumps({"source": source, "pipeline": "script", "unknown": text}, ensure_ascii=False).encode()
        for text in ("x" * 60_000_000, "ü" * 20_000_000 + "😀", "\\" * 20_000_000)
    ]
    bodies.append(json.dumps({"source": source, "metadata": [{"a": [1, 2]}] * 60_000}).encode())
    texts = [f"{number:0300}" for number in range(200_000)]
    bodies.append(json.dumps({"source": source, "pipeline": "script", "unknown": texts}).encode())
    bodies.append(json.dumps({"source": source, "pipeline": "script", "unknown": texts[:12_000]}).encode())

    async def post(number: int) -> str:
        body = bodies[number % len(bodies)]
        head = f"POST /app-{number}/1 HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        return await service.status(head.encode() + body)

    answers: set[str] = set()

    async def post_all() -> None:
        for first in range(0, 24, 6):
            answers.update(await asyncio.gather(*(post(number) for number in range(first, first + 6))))

    posting, most = asyncio.create_task(post_all()), 0.0
    while not posting.done():
        most = max(most, await service.peak_mib(0.1))
    await posting
    print(f"  answers {answers}, at most {most:.0f} MiB; afterwards {service.resident_mib:.0f} MiB")


ATTACKS: dict[str, Callable[[Service], Awaitable[None]]] = {
    "heads": unfinished_heads,
    "bodies": endless_bodies,
    "readers": idle_readers,
    "json": large_json,
}


async def run(names: list[str], rest_seconds: float) -> None:
    """Run each attack on a service of its own."""
    for name in names:
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="misuse-"))
            service = await stack.enter_async_context(serving(Path(folder)))
            before = service.resident_mib
            print(f"{ATTACKS[name].__doc__}\n  before: {before:.0f} MiB", flush=True)
            await ATTACKS[name](service)
            await asyncio.sleep(rest_seconds)
            print(f"  {rest_seconds:.0f} s later: {service.resident_mib:.0f} MiB", flush=True)


def main() -> int:
    """Print the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("attacks", nargs="*", choices=[*ATTACKS, []], default=list(ATTACKS))
    parser.add_argument("--rest-seconds", type=float, default=15)
    chosen = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    asyncio.run(run(chosen.attacks, chosen.rest_seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
