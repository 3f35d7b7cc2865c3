"""Readers of 1 KB/s, of an HTTP sink and of follow=true: other builds do not notice, and each costs bounded memory."""

import asyncio
import re
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.product import Product, running_product

pytestmark = pytest.mark.timeout(200)
READERS = 20
BUILDS = 50
AT_ONCE = 4
# 20 MB: far more than all buffers of the kernel and of ours between the log and its slow readers.
LONG = "seq -f '%0099.0f' 1 200000"
# A block of the log and the transport's buffer are some 0.5 MB; the rest is for the allocator.
READER_BYTES = 2 * 1024 * 1024
# The machine of a test is busy with other things too; a shuttle that waited for a slow reader would take minutes.
FACTOR, SLACK_SECONDS = 4.0, 2.0


async def test_slow_readers_slow_nobody_down(tmp_path: Path):
    async with running_product(tmp_path, executors=8, MAXIMUM_PARALLEL_BUILDS="8") as product:
        await _long_build(product, "warm", [])
        without_seconds = await _median_seconds(product, "without")
        before_bytes = _resident_bytes(product)
        async with _slow_sink() as sink_url, asyncio.TaskGroup() as slow:
            readers = await _long_build(product, "slow", [f"{sink_url}/log"], slow)
            with_seconds = await _median_seconds(product, "with")
            after_bytes = _resident_bytes(product)
            sinks = (await product.build("slow", "1"))["sinks"]
            assert not any(reader.done() for reader in readers), "a reader was not slow"
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
        each_bytes = (after_bytes - before_bytes) / (READERS + 1)
        print(f"median of {BUILDS} builds: {without_seconds:.3f} s without slow readers, {with_seconds:.3f} s with")
        print(f"resident: {before_bytes >> 10} KiB before, {after_bytes >> 10} KiB with {READERS + 1} slow readers")
        assert with_seconds <= without_seconds * FACTOR + SLACK_SECONDS
        assert each_bytes <= READER_BYTES
        assert [sink["state"] for sink in sinks] == ["live"]


async def _long_build(
    product: Product, app_id: str, sinks: list[str], slow: asyncio.TaskGroup | None = None
) -> list[asyncio.Task[None]]:
    """A build of 20 MB that is over; with `slow`, its log is followed from its beginning."""
    gate = product.folder / f"{app_id}.gate"
    script = f"#!/bin/sh\necho begun\nwhile [ ! -e {gate} ]; do sleep 0.05; done\n{LONG}\n"
    await product.submit(app_id, "1", script, webhooks={"logs": sinks})
    await product.until_state(app_id, "1", "running")
    readers = []
    if slow is not None:
        following = [asyncio.Event() for _ in range(READERS)]
        readers = [slow.create_task(_follow_slowly(product, app_id, event)) for event in following]
        await asyncio.gather(*(event.wait() for event in following))
    gate.touch()
    await product.until_state(app_id, "1", "succeeded", seconds=60)
    return readers


async def _median_seconds(product: Product, prefix: str) -> float:
    """Of BUILDS builds, a few at a time: from the POST to the end of status and log at the receiver."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> float:
        async with free:
            receiver = product.receiver(f"{prefix}{number}")
            began_at = time.monotonic()
            await product.submit(f"{prefix}{number}", "1", "#!/bin/sh\nseq 1 100\n", receiver)
            await receiver.until(lambda: receiver.final and receiver.log_ended)
            assert receiver.final["status"] == "succeeded"
            return time.monotonic() - began_at

    return statistics.median(await asyncio.gather(*(one(number) for number in range(BUILDS))))


async def _take_slowly(reader: asyncio.StreamReader) -> None:
    """1 KB/s."""
    while await reader.read(80):
        await asyncio.sleep(0.08)


async def _follow_slowly(product: Product, app_id: str, reached: asyncio.Event) -> None:
    address = urlsplit(product.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=1024)
    try:
        writer.write(f"GET /{app_id}/1/logs?follow=true HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        reached.set()
        await _take_slowly(reader)
    finally:
        await _hang_up(writer)


async def _hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()


@asynccontextmanager
async def _slow_sink() -> AsyncIterator[str]:
    taking: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError):  # the shuttle may end the request
                await _take_slowly(reader)
        finally:
            await _hang_up(writer)

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(take(reader, writer))
        taking.add(task)
        task.add_done_callback(taking.discard)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, limit=1024)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in taking:
            task.cancel()
        await asyncio.gather(*taking, return_exceptions=True)


def _resident_bytes(product: Product) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{product.shuttle.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
