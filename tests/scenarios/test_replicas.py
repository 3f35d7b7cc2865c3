"""Several replicas on one database: kills, freezes and partitions of one are not noticed by callers and receivers."""

import asyncio
import hashlib
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.support.product import Process, Product, running_replicas

pytestmark = pytest.mark.timeout(180)

SLOW = """#!/bin/sh
echo ran >> {ran}
for i in 1 2 3 4 5 6 7 8 9 10; do seq $((i * 100)) $((i * 100 + 99)); sleep 0.5; done
"""


async def owner_of(product: Product, app_id: str) -> Process:
    """The replica that owns the app."""
    assert product.postgres is not None
    query = f"SELECT name FROM replicas JOIN apps ON owner = instance WHERE app_id = '{app_id}'"
    ((name,),) = await asyncio.to_thread(product.postgres.query, query)
    pid = int(name.rsplit("-", 1)[1])
    return next(replica for replica in product.replicas if replica.pid == pid)


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_builds_of_a_lost_replica_go_on(how: str, tmp_path: Path):
    ran = tmp_path / "ran"
    async with running_replicas(tmp_path, 2) as product:
        receiver = product.receiver()
        await product.submit("app", "1", SLOW.format(ran=ran), receiver)
        await receiver.until(lambda: len(receiver.log) > 500)
        lost = await owner_of(product, "app")
        await lost.kill(signal.SIGKILL if how == "killed" else signal.SIGTERM)
        await receiver.until(lambda: receiver.final and receiver.log_ended, 60)
        assert receiver.words() == ["queued", "pending", "succeeded"]
        assert receiver.final["log_sha256"] == hashlib.sha256(bytes(receiver.log)).hexdigest()
        assert ran.read_text().split() == ["ran"]
        assert all("Traceback" not in replica.output() for replica in product.replicas)


async def test_a_replica_that_was_frozen_sends_and_writes_nothing_more(tmp_path: Path):
    """It is frozen for longer than its lease, in the middle of a log; another replica ends the build meanwhile."""
    ran = tmp_path / "ran"
    async with running_replicas(tmp_path, 2) as product:
        receiver = product.receiver()
        await product.submit("app", "1", SLOW.format(ran=ran), receiver)
        await receiver.until(lambda: len(receiver.log) > 500)
        frozen = await owner_of(product, "app")
        os.kill(frozen.pid, signal.SIGSTOP)
        product.balancer.cut(product.ports[product.replicas.index(frozen)])
        await receiver.until(lambda: receiver.final and receiver.log_ended, 60)
        calls = receiver.calls
        os.kill(frozen.pid, signal.SIGCONT)
        await until_raised(product, frozen)
        assert receiver.calls == calls
        assert receiver.words() == ["queued", "pending", "succeeded"]
        assert receiver.final["log_sha256"] == hashlib.sha256(bytes(receiver.log)).hexdigest()
        assert ran.read_text().split() == ["ran"]
        assert all("Traceback" not in replica.output() for replica in product.replicas)


async def until_raised(product: Product, replica: Process) -> None:
    """Wait until the replica has raised its counter three times, and so has looked at everything again."""
    assert product.postgres is not None
    query = f"SELECT counter FROM replicas WHERE name LIKE '%-{replica.pid}'"
    async with asyncio.timeout(20):
        while not (rows := await asyncio.to_thread(product.postgres.query, query)) or rows[0][0] < 3:
            await asyncio.sleep(0.1)


async def test_a_reader_of_another_replica_sees_the_log_grow_without_a_break_while_its_owner_dies(tmp_path: Path):
    async with running_replicas(tmp_path, 3) as product:
        receiver = product.receiver()
        await product.submit("app", "1", SLOW.format(ran=tmp_path / "ran"), receiver)
        await receiver.until(lambda: len(receiver.log) > 100)
        owner = await owner_of(product, "app")
        port = next(port for port, replica in zip(product.ports, product.replicas, strict=True) if replica is not owner)
        followed = bytearray()
        async with product.session.get(f"http://127.0.0.1:{port}/app/1/logs?follow=true") as response:
            async for chunk in response.content.iter_any():
                followed += chunk
                if len(followed) > 1000:
                    await owner.kill()
        await receiver.until(lambda: receiver.final and receiver.log_ended, 60)
        assert receiver.final["status"] == "succeeded"
        assert bytes(followed) == bytes(receiver.log)
        assert receiver.final["log_sha256"] == hashlib.sha256(followed).hexdigest()


async def test_a_rolling_restart_under_load_fails_no_request(tmp_path: Path):
    async with running_replicas(tmp_path, 3, SHUTTLE_DRAIN_SECONDS="3") as product:
        watch = asyncio.create_task(follow_readiness(product))
        receivers = {}
        done = asyncio.Event()

        async def request_builds() -> None:
            number = 0
            while not done.is_set():
                receivers[number] = product.receiver(f"r{number}")
                await product.submit(f"app{number % 6}", str(number), "#!/bin/sh\nseq 1 50\n", receivers[number])
                assert (await product.build(f"app{number % 6}", str(number)))["build_id"] == str(number)
                number += 1
                await asyncio.sleep(0.3)

        load = asyncio.create_task(request_builds())
        for replica, port in zip(product.replicas, product.ports, strict=True):
            assert await replica.kill(signal.SIGTERM) == 0
            await replica.start()
            await until_in(product, port)
        done.set()
        await load
        watch.cancel()
        for number, receiver in receivers.items():
            await receiver.until(lambda receiver=receiver: receiver.final and receiver.log_ended, 60)
            assert receiver.words() == ["queued", "pending", "succeeded"], number
            assert receiver.final["log_sha256"] == hashlib.sha256(bytes(receiver.log)).hexdigest()


async def follow_readiness(product: Product) -> None:
    """Take replicas out of the balancer and back, as their /readyz says; run until cancelled."""
    while True:
        for port in product.ports:
            if await is_ready(product, port):
                product.balancer.out.discard(port)
            else:
                product.balancer.out.add(port)
        await asyncio.sleep(0.1)


async def is_ready(product: Product, port: int) -> bool:
    try:
        async with product.session.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def until_in(product: Product, port: int) -> None:
    async with asyncio.timeout(20):
        while port in product.balancer.out or not await is_ready(product, port):
            await asyncio.sleep(0.1)
