"""SIGKILL of one of three replicas at seeded moments of many builds, and between a log's last push and its archive."""

import asyncio
import random
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.kafka_cluster import kafka_cluster
from tests.support.on_postgres import on_postgres
from tests.support.product import running_replicas
from tests.support.separate_replicas import owner_of
from tests.support.subscribed_build import SubscribedBuild, subscribed_build, subscribed_builds

pytestmark = [pytest.mark.timeout(400), pytest.mark.long]

SEED = 20261129
KILLS = 20
REPLICAS = 3
APPS, BUILDS_OF_AN_APP = 20, 3
PARALLEL = 8
SCRIPT = "for i in 1 2 3 4 5 6 7 8; do seq $((i * 100)) $((i * 100 + 99)); sleep 0.5; done"
NUMBERS = [b"%d" % number for number in range(100, 900)]


async def test_twenty_kills_during_sixty_builds(tmp_path: Path):
    moments = random.Random(SEED)
    names, build_ids = [f"app{number}" for number in range(APPS)], [str(number) for number in range(BUILDS_OF_AN_APP)]
    async with (
        kafka_cluster(brokers=2) as kafka,
        running_replicas(tmp_path, REPLICAS, executors=PARALLEL, MAXIMUM_PARALLEL_BUILDS=str(PARALLEL)) as product,
        subscribed_builds(product, kafka, names, build_ids) as builds,
        asyncio.TaskGroup() as requests,
    ):
        requests.create_task(request_all(builds))
        for number in range(KILLS):
            await until_finals(builds, number * (len(builds) - PARALLEL) // KILLS)
            await asyncio.sleep(moments.uniform(0, 1.0))  # the seeded moment itself
            await product.replicas[moments.randrange(REPLICAS)].restart()
        for build in builds:
            log = await build.received_log(seconds=150)
            assert [line for line in log.splitlines() if line.isdigit()] == NUMBERS
        messages = sum(len(build.lines.messages) for build in builds)
        print(f"{messages} messages of logs")
        for replica in product.replicas:
            assert "Traceback" not in replica.output()


async def until_finals(builds: list[SubscribedBuild], count: int) -> None:
    async with asyncio.timeout(120):
        while sum(build.receiver.final is not None for build in builds) < count:
            await asyncio.sleep(0.02)


async def request_all(builds: list[SubscribedBuild]) -> None:
    """One after the other, so that requests are interrupted by kills, too; these are repeated."""
    for build in builds:
        await build.submit(SCRIPT, asks=50)


async def test_kill_between_the_last_push_and_the_archive(tmp_path: Path):
    """One archive has not arrived when its owner is killed; the other one has, and its answer is lost."""
    with on_postgres() as postgres:
        async with (
            kafka_cluster() as kafka,
            faulty_proxy(postgres.settings["S3_LOCATION"]) as to_objects,
            running_replicas(tmp_path, REPLICAS, postgres=postgres, S3_LOCATION=to_objects.url) as product,
            subscribed_build(product, kafka, "hang") as first,
            subscribed_build(product, kafka, "mute") as second,
        ):
            for build in (first, second):
                hold_archive(to_objects, build.name)
                await build.submit(SCRIPT)
                await to_objects.until_hits(1)
                owner = await owner_of(product, build.name)
                assert owner is not None
                await owner.kill()
                to_objects.stop_faults()
                log = await build.received_log(seconds=60)
                assert [line for line in log.splitlines() if line.isdigit()] == NUMBERS
                await owner.start()
                to_objects.hits.clear()
                to_objects.calmed.clear()


def hold_archive(proxy: FaultyProxy, how: str) -> None:
    """Hold the first archive: `hang` = before it is stored, `mute` = after it was."""

    def fault(request: web.Request) -> str | None:
        first = not proxy.hits and request.method == "PUT" and request.path.endswith(".log")
        return how if first else None

    proxy.fault = fault
