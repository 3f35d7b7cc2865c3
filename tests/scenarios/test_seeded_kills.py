"""SIGKILL of the shuttle at 20 seeded moments of one build with a log of 5 MB: all bytes, all statuses, one run."""

import asyncio
import hashlib
import random
from pathlib import Path

import pytest

from tests.product import running_product

pytestmark = pytest.mark.timeout(240)
SEED = 20190417
KILLS = 20
LINES = 60_000


async def test_twenty_kills_in_one_log(tmp_path: Path):
    moments = random.Random(SEED)
    script = (
        f"#!/bin/sh\necho ran >> {tmp_path}/ran\n"
        f"i=0; while [ $i -lt 60 ]; do seq -f '%08.0f {'x' * 72}' $((i*1000+1)) $((i*1000+1000)); "
        "sleep 0.4; i=$((i+1)); done\n"
    )
    async with running_product(tmp_path) as product:
        receiver = product.receiver()
        await product.submit("app", "1", script, receiver)
        await receiver.until(lambda: len(receiver.log) > 1000)
        for _ in range(KILLS):
            size = len(receiver.log)
            await receiver.until(lambda size=size: len(receiver.log) > size or receiver.final is not None)
            await asyncio.sleep(moments.uniform(0, 0.09))  # the seeded moment itself
            await product.shuttle.restart()
        await receiver.until(lambda: receiver.final is not None and receiver.log_ended > 0, 60)
        log = bytes(receiver.log)
        assert receiver.words() == ["queued", "pending", "succeeded"]
        assert receiver.final["log_sha256"] == hashlib.sha256(log).hexdigest()
        assert await product.log("app", "1") == log
        numbers = [int(line[:8]) for line in log.splitlines() if line.endswith(b"x" * 72)]
        assert numbers == list(range(1, LINES + 1))
        assert (tmp_path / "ran").read_text().split() == ["ran"]
        archived = (tmp_path / "data").glob("objects/**/*.log*")
        assert any(path.read_bytes() == log for path in archived if path.is_file())


async def test_a_hundred_small_builds_survive_kills_of_everything(tmp_path: Path):
    moments = random.Random(SEED)
    async with running_product(tmp_path, MAXIMUM_PARALLEL_BUILDS="8", executors=8) as product:
        receivers = {}
        for number in range(100):
            app_id, build_id = f"app{number % 20}", str(number)
            receivers[number] = product.receiver(f"r{number}")
            script = f"#!/bin/sh\necho ran >> {tmp_path}/{number}.ran\nseq 1 {number + 1}\n"
            await product.submit(app_id, build_id, script, receivers[number])
        for kill in range(6):
            done = sum(receiver.final is not None for receiver in receivers.values())
            target = min(done + moments.randint(1, 12), 95)
            await _until_finals(receivers, target)
            await (product.jenkins if kill % 3 == 2 else product.shuttle).restart()
        await _until_finals(receivers, 100)
        for number, receiver in receivers.items():
            await receiver.until(lambda receiver=receiver: receiver.log_ended > 0, 30)
            assert receiver.words() == ["queued", "pending", "succeeded"], number
            assert receiver.final["log_sha256"] == hashlib.sha256(bytes(receiver.log)).hexdigest()
            assert (tmp_path / f"{number}.ran").read_text().split() == ["ran"]


async def _until_finals(receivers, count: int) -> None:
    async with asyncio.timeout(90):
        while sum(receiver.final is not None for receiver in receivers.values()) < count:
            await asyncio.sleep(0.02)
