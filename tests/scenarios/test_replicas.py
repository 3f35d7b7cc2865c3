"""Several replicas on one database: kills, freezes and partitions of one are not noticed by callers and receivers."""

import asyncio
import base64
import hashlib
import os
import random
import signal
from pathlib import Path

import pytest

from tests.support.continuous_builds import builds_all_the_time
from tests.support.product import Product, data_url, running_replicas
from tests.support.separate_replicas import owner_of, until_raised

pytestmark = pytest.mark.timeout(180)

SLOW = """#!/bin/sh
echo ran >> {ran}
for i in 1 2 3 4 5 6 7 8 9 10; do seq $((i * 100)) $((i * 100 + 99)); sleep 0.5; done
"""


REGISTRY = {"docker_registry": "r.example", "gm_registry_host": "r.example", "gm_registry_repo": "apps"}


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_builds_of_a_lost_replica_continue(how: str, tmp_path: Path):
    ran = tmp_path / "ran"
    async with running_replicas(tmp_path, 2) as product:
        receiver = product.receiver()
        await product.submit("app", "1", SLOW.format(ran=ran), receiver)
        await receiver.until(lambda: len(receiver.log) > 500)
        lost = await owner_of(product, "app")
        assert lost is not None
        await lost.kill(signal.SIGKILL if how == "killed" else signal.SIGTERM)
        await receiver.until(lambda: receiver.final and receiver.log_ended, 60)
        assert receiver.words() == ["queued", "pending", "succeeded"]
        assert receiver.final["log_sha256"] == hashlib.sha256(bytes(receiver.log)).hexdigest()
        assert ran.read_text().split() == ["ran"]
        assert all("Traceback" not in replica.output() for replica in product.replicas)


async def test_a_replica_that_was_frozen_sends_and_writes_nothing_more(tmp_path: Path):
    """The replica is frozen for longer than its lease, in the middle of a log; another one ends the build meanwhile."""
    ran = tmp_path / "ran"
    async with running_replicas(tmp_path, 2) as product:
        receiver = product.receiver()
        await product.submit("app", "1", SLOW.format(ran=ran), receiver)
        await receiver.until(lambda: len(receiver.log) > 500)
        frozen = await owner_of(product, "app")
        assert frozen is not None
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


async def test_a_reader_of_another_replica_sees_the_log_grow_without_a_break_while_its_owner_dies(tmp_path: Path):
    async with running_replicas(tmp_path, 3) as product:
        receiver = product.receiver()
        await product.submit("app", "1", SLOW.format(ran=tmp_path / "ran"), receiver)
        await receiver.until(lambda: len(receiver.log) > 100)
        owner = await owner_of(product, "app")
        assert owner is not None
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
        async with product.session.get(f"http://127.0.0.1:{port}/app/1/logs?stage=build") as response:
            part = await response.text()
        assert part == "-----> Running build.sh\n" + "".join(f"{number}\n" for number in range(100, 1100))


async def test_a_rolling_restart_under_load_fails_no_request(tmp_path: Path):
    async with (
        running_replicas(tmp_path, 3, SHUTTLE_DRAIN_SECONDS="3") as product,
        product.balancer.probing(),
        builds_all_the_time(product),
    ):
        for replica, port in zip(product.replicas, product.ports, strict=True):
            assert await replica.kill(signal.SIGTERM) == 0
            await replica.start()
            await product.balancer.until_in(port)


async def test_of_two_sources_for_one_uuid_the_recorded_one_stays(tmp_path: Path):
    """Two requests choose the same uuid at the same moment, at two replicas."""
    sources = {f"{each}": incompressible(each) for each in range(2)}
    uuids = [f"00000000-0000-4000-8000-00000000000{each}" for each in range(6)]
    async with running_replicas(tmp_path, 2) as product:
        urls = [f"http://127.0.0.1:{port}" for port in product.ports]

        async def legacy(uuid: str, app: str, url: str) -> int:
            body = {"app": f"app{app}", "space": "space", "app_uuid": uuid, "build_uuid": uuid, "sources": sources[app]}
            async with product.session.post(f"{url}/", json=body | REGISTRY) as response:
                return response.status

        async def new(uuid: str, app: str, url: str) -> int:
            body = {"source": {"url": sources[app]}, "pipeline": "script"}
            async with product.session.post(f"{url}/app{app}/{uuid}", json=body) as response:
                return response.status

        for uuid in uuids[:3]:
            statuses = await asyncio.gather(*(legacy(uuid, app, url) for app, url in zip("01", urls, strict=True)))
            assert sorted(statuses) == [200, 409]
            assert await source_of(product, uuid) == sources[str(statuses.index(200))]
        for uuid in uuids[3:]:
            assert await asyncio.gather(*(new(uuid, app, url) for app, url in zip("01", urls, strict=True))) == [
                200,
                200,
            ]
            for app in "01":
                build = await product.build(f"app{app}", uuid)
                assert await source_of(product, build["build_uuid"]) == sources[app]


def incompressible(seed: int) -> str:
    """A data: URL of 600 kB, so that storing it takes some time."""
    return data_url({"build.sh": "#!/bin/sh\n", "noise": random.Random(seed).randbytes(300_000).hex()})


async def source_of(product: Product, build_uuid: str) -> str:
    """The stored source as a data: URL."""
    async with product.session.get(f"{product.url}/{build_uuid}") as response:
        assert response.status == 200
        return f"data:{response.content_type};base64,{base64.b64encode(await response.read()).decode()}"
