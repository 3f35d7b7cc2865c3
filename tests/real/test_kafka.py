"""Logs and statuses in a real Kafka cluster whose brokers die and hang: every line arrives, in order.

Duplicates can be recognized by their offsets. The shuttle has its default settings. Measured times are printed (`make
test-real ARGS=-s`).
"""

import asyncio

import pytest
import pytest_asyncio

from tests.real.kafka_brokers import running_brokers
from tests.real.talking import talking
from tests.support.product import running_product

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

_HANGS_SECONDS = 20
_DOWN_SECONDS = 30
# A request to a broker that hangs times out after 10 s, a connection attempt after 5 s.
_NOTICED_SECONDS = 30


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three(tmp_path_factory):
    async with running_brokers(tmp_path_factory.mktemp("three"), 3) as brokers:
        await brokers.make_topics("ready")
        yield brokers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def product(tmp_path_factory):
    async with running_product(tmp_path_factory.mktemp("product")) as running:
        yield running


def three_of(name: str) -> list[str]:
    """Names of three builds; Kafka distributes the leaders of their topics over the brokers."""
    return [f"{name}-{number}" for number in range(3)]


async def test_the_leader_is_killed(product, three):
    async with talking(product, three, three_of("killed")) as builds:
        await asyncio.gather(*(build.arrives() for build in builds))
        leader = await three.leader("killed-0-log")
        await leader.kill()
        took = await asyncio.gather(*(build.arrives() for build in builds))
        await leader.start()
        print(f"a leader is dead: lines arrive again after {max(took):.1f} s")
        for build in builds:
            await build.ends()


async def test_the_leader_hangs(product, three):
    async with talking(product, three, three_of("hung")) as builds:
        await asyncio.gather(*(build.arrives() for build in builds))
        leader = await three.leader("hung-0-log")
        await leader.pause()
        try:
            hanging = asyncio.create_task(asyncio.sleep(_HANGS_SECONDS))
            arriving = asyncio.gather(*(build.arrives() for build in builds))
            await hanging
        finally:
            leader.resume()
        took = await arriving
        print(f"a leader hangs for {_HANGS_SECONDS} s: lines arrive again after {max(took):.1f} s")
        assert max(took) < _NOTICED_SECONDS
        for build in builds:
            await build.ends()


async def test_all_brokers_are_down(product, three):
    async with talking(product, three, three_of("down")) as builds:
        await asyncio.gather(*(build.arrives() for build in builds))
        await asyncio.gather(*(broker.kill() for broker in three.all))
        down = asyncio.create_task(asyncio.sleep(_DOWN_SECONDS))
        for build in builds:
            sink = await build.sink("failing")
            assert str(sink["last_error"]).startswith("Kafka 127.0.0.1:")
        await down
        await asyncio.gather(*(broker.start() for broker in three.all))
        took = await asyncio.gather(*(build.arrives() for build in builds))
        print(f"all were down for {_DOWN_SECONDS} s: lines arrive again {max(took):.1f} s after their start")
        for build in builds:
            await build.ends()
