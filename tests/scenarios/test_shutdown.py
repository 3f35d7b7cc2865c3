"""SIGTERM while many builds run: the service ends in time, no log seems complete, and the next start continues."""

import asyncio
import hashlib
import signal
import time
from pathlib import Path

import aiohttp
import pytest

from tests.support.product import Product, running_product

pytestmark = pytest.mark.timeout(150)
WAITING = 5
FOLLOWERS = 10
SHUTDOWN_SECONDS = 5


@pytest.mark.parametrize("parallel", [40, pytest.param(100, marks=pytest.mark.long)])
async def test_many_running_builds_outlive_a_shutdown_and_a_kill(tmp_path: Path, parallel: int):
    builds = parallel + WAITING
    gate = tmp_path / "gate"
    async with running_product(
        tmp_path,
        executors=parallel,
        MAXIMUM_PARALLEL_BUILDS=str(parallel),
        SHUTTLE_SHUTDOWN_SECONDS=str(SHUTDOWN_SECONDS),
    ) as product:
        receivers = [product.receiver(f"r{number}") for number in range(builds)]
        for number, receiver in enumerate(receivers):
            script = (
                f"#!/bin/sh\necho ran >> {tmp_path}/{number}.ran\necho begun\n"
                f"while [ ! -e {gate} ]; do sleep 1; done\nseq 1 100\n"
            )
            # While a hundred agents start, a request gets a 503 if its transactions take more than 2.5 s together.
            await product.submit(f"app{number}", "1", script, receiver, asks=50)
        begun = await _begun(receivers, parallel)
        following = [asyncio.Event() for _ in begun[:FOLLOWERS]]
        followers = [
            asyncio.create_task(_follow(product, number, event))
            for number, event in zip(begun, following, strict=False)
        ]
        await asyncio.gather(*(event.wait() for event in following))

        asked_at = time.monotonic()
        assert await product.shuttle.kill(signal.SIGTERM) == 0, product.shuttle.output()[-4000:]
        took_seconds = time.monotonic() - asked_at
        print(f"it was out {took_seconds:.2f} s after SIGTERM")
        assert took_seconds < SHUTDOWN_SECONDS
        assert await asyncio.gather(*followers) == ["broken"] * FOLLOWERS
        assert [receiver.log_ended for receiver in receivers] == [0] * builds
        assert [receiver.final for receiver in receivers] == [None] * builds

        await product.shuttle.start()
        await product.shuttle.restart()
        gate.touch()
        for number, receiver in enumerate(receivers):
            await receiver.until(lambda receiver=receiver: receiver.final and receiver.log_ended, 90)
            assert receiver.words() == ["queued", "pending", "succeeded"], number
            assert receiver.final["log_sha256"] == hashlib.sha256(bytes(receiver.log)).hexdigest(), number
            assert (tmp_path / f"{number}.ran").read_text().split() == ["ran"], number


async def _begun(receivers, count: int) -> list[int]:
    """The builds that fill all slots, once each of them has printed something."""
    async with asyncio.timeout(60):
        while len(found := [n for n, receiver in enumerate(receivers) if b"begun\n" in receiver.log]) < count:
            await asyncio.sleep(0.05)
    return found


async def _follow(product: Product, number: int, reached: asyncio.Event) -> str:
    """Return how the response of follow=true ended: `ended` like that of a complete log, or `broken`."""
    url = f"{product.url}/app{number}/1/logs?follow=true"
    log = b""
    try:
        async with product.session.get(url, timeout=aiohttp.ClientTimeout(total=60)) as response:
            async for block in response.content.iter_any():
                log += block
                if b"begun\n" in log:
                    reached.set()
    except aiohttp.ClientPayloadError:
        return "broken"
    return "ended"
