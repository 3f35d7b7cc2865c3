"""SIGKILL at seeded moments, 20 of them during one log of 5 MB: every byte and status arrives, and a build runs once.

Every fifth kill is that of Jenkins, through which the log does not go.
"""

import asyncio
import hashlib
import random
from functools import partial
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord

from tests.support.kafka_cluster import kafka_cluster
from tests.support.kafka_topic import offset_of
from tests.support.product import running_product
from tests.support.subscribed_build import subscribed_build

# Twenty starts take half a minute on a machine that does nothing else.
pytestmark = pytest.mark.timeout(480)
SEED = 20190417
KILLS = 20
LINES = 12_000
# Long lines. The mock brokers keep 5 MB, which must be enough for the messages between two reads of the consumer.
FILLING = "x" * 408


async def test_twenty_kills_in_one_log(tmp_path: Path):
    moments = random.Random(SEED)
    # After each kill the log continues in three parts, so that the next kill interrupts it before its end.
    script = (
        f"i=0; while [ $i -lt 60 ]; do while [ ! -e {tmp_path}/go.$((i/3)) ]; do sleep 0.02; done; "
        f"seq -f '%08.0f {FILLING}' $((i*200+1)) $((i*200+200)); sleep 0.05; i=$((i+1)); done"
    )
    async with (
        kafka_cluster(brokers=2) as kafka,
        running_product(tmp_path) as product,
        subscribed_build(product, kafka, "app") as build,
    ):
        await build.submit(script)
        await product.until_state("app", "1", "running")
        for number in range(KILLS):
            size, furthest = len(build.receiver.log), max(map(offset_of, build.lines.messages), default=0)
            (tmp_path / f"go.{number}").touch()
            # Alternately, because either of them may be behind.
            if number % 2:
                await build.receiver.until(partial(lambda size: len(build.receiver.log) > size, size))
            else:
                await build.lines.until(partial(has_passed, furthest))
            await asyncio.sleep(moments.uniform(0, 0.09))  # the seeded moment itself
            await (product.jenkins if number % 5 == 4 else product.shuttle).restart()
        log = await build.received_log()
        messages = len(build.lines.messages)
    numbers = [int(line[:8]) for line in log.splitlines() if line.endswith(FILLING.encode())]
    assert numbers == list(range(1, LINES + 1))
    print(f"{len(log)} bytes, {messages} messages for {len(log.splitlines())} lines")


def has_passed(offset: int, messages: list[ConsumerRecord]) -> bool:
    return bool(messages) and offset_of(messages[-1]) > offset


@pytest.mark.parametrize("builds", [50, pytest.param(100, marks=pytest.mark.long)])
async def test_many_small_builds_survive_kills_of_everything(tmp_path: Path, builds: int):
    moments = random.Random(SEED)
    async with running_product(tmp_path, MAXIMUM_PARALLEL_BUILDS="8", executors=8) as product:
        receivers = {}
        for number in range(builds):
            app_id, build_id = f"app{number % 20}", str(number)
            receivers[number] = product.receiver(f"r{number}")
            script = f"#!/bin/sh\necho ran >> {tmp_path}/{number}.ran\nseq 1 {number + 1}\n"
            await product.submit(app_id, build_id, script, receivers[number])
        for kill in range(6):
            done = sum(receiver.final is not None for receiver in receivers.values())
            target = min(done + moments.randint(1, builds // 8), builds - 5)
            await _until_finals(receivers, target)
            await (product.jenkins if kill % 3 == 2 else product.shuttle).restart()
        await _until_finals(receivers, builds)
        for number, receiver in receivers.items():
            await receiver.until(lambda receiver=receiver: receiver.log_ended > 0, 30)
            assert receiver.words() == ["queued", "pending", "succeeded"], number
            assert receiver.final["log_sha256"] == hashlib.sha256(bytes(receiver.log)).hexdigest()
            assert (tmp_path / f"{number}.ran").read_text().split() == ["ran"]


async def _until_finals(receivers, count: int) -> None:
    async with asyncio.timeout(90):
        while sum(receiver.final is not None for receiver in receivers.values()) < count:
            await asyncio.sleep(0.02)
