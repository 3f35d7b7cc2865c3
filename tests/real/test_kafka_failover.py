"""failover(…) over real Kafka clusters: however the first member fails, the next is used within 10 s; no line is lost.

The shuttle has its default settings. Measured times are printed (`make test-real ARGS=-s`).
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import pytest_asyncio

from tests.real.kafka_brokers import PASSWORD, running_brokers
from tests.real.talking import WITHIN_SECONDS, reaches, talking, topics_of
from tests.support.kafka_broker import black_hole, closed_port
from tests.support.kafka_topic import Topic, offset_of
from tests.support.product import running_product
from tests.support.tcp_proxy import tcp_proxy

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

# The 10 s of docs/contract.md, "Failover". The switch itself takes a moment more, on an overloaded machine seconds.
_DECISION_SECONDS = 10
_SWITCH_SECONDS = 5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clusters(tmp_path_factory):
    """The last member, which needs a password; a cluster behind a proxy that can fall silent; one that tests stop."""
    folder = tmp_path_factory.mktemp("clusters")
    async with (
        tcp_proxy(0, 0) as proxy,
        running_brokers(folder / "guarded", 1, asks_for_password=True) as guarded,
        running_brokers(folder / "proxied", 1, proxy=proxy) as proxied,
        running_brokers(folder / "stopped", 1) as stopped,
    ):
        await asyncio.gather(*(cluster.make_topics("ready") for cluster in (guarded, proxied, stopped)))
        yield guarded, proxied, stopped, proxy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def product(tmp_path_factory):
    async with running_product(tmp_path_factory.mktemp("product"), executors=5, MAXIMUM_PARALLEL_BUILDS="5") as running:
        yield running


class Dead:
    """The address of a cluster that does not exist; nothing can be read from it."""

    def __init__(self, host: str) -> None:
        self._host = host

    def url(self, topic: str) -> str:
        return f"kafka://{self._host}/{topic}"

    @asynccontextmanager
    async def reading(self, topic: str) -> AsyncIterator[Topic]:
        yield Topic()


def check_switch(name: str, seconds: float) -> None:
    """Print how long the switch took, and compare it with the limit."""
    print(f"{name}: the next member is in use after {seconds:.1f} s")
    assert seconds < _DECISION_SECONDS + _SWITCH_SECONDS, name


async def test_a_first_member_that_is_dead_from_the_start(product, clusters):
    guarded, _, stopped, _ = clusters
    with black_hole() as hole:
        dead = {
            "refused": Dead(f"127.0.0.1:{closed_port()}"),
            "unresolvable": Dead("no-such-host.invalid:9092"),
            "black-holed": Dead(f"127.0.0.1:{hole}"),
            "stopped": Dead(stopped.public),
        }
        await stopped.pause()
        try:
            async with talking(product, guarded, list(dead), preferred=list(dead.values())) as builds:
                await asyncio.gather(*(build.arrives() for build in builds))
                shown = [await build.sink("live", "behind") for build in builds]
                for build in builds:
                    await build.ends()
        finally:
            stopped.resume()
    for build, sink in zip(builds, shown, strict=True):
        subscribed = build.subscribed
        assert f"Failed over to {guarded.public} at offset 0." in str(sink["last_error"]), subscribed.name
        assert PASSWORD not in json.dumps(sink)
        for what, topic in (("log", subscribed.lines), ("statuses", subscribed.statuses)):
            check_switch(f"{subscribed.name}, {what}", topic.messages[0].timestamp / 1000 - build.submitted_at)


async def test_a_first_member_that_hangs_in_mid_build(product, clusters):
    guarded, proxied, stopped, proxy = clusters
    names = ["black-holed-later", "stopped-later"]
    await proxied.make_topics(*topics_of(names[:1]))
    await stopped.make_topics(*topics_of(names[1:]))
    async with talking(product, guarded, names, preferred=[proxied, stopped]) as builds:
        firsts = [build.subscribed.topics[0][0] for build in builds]
        for build, first in zip(builds, firsts, strict=True):
            await build.arrives(first)
        for build in builds:
            assert not build.subscribed.lines.messages, await build.sink("live")
        began_at = time.monotonic()

        async def switches(build) -> float:
            await build.subscribed.lines.until(bool, WITHIN_SECONDS)
            return time.monotonic() - began_at

        proxy.fall_silent()
        await stopped.pause()
        try:
            took = await asyncio.gather(*(switches(build) for build in builds))
            await asyncio.gather(*(build.arrives() for build in builds))
            for build in builds:
                sink = await build.sink("live", "behind")
                assert f"Failed over to {guarded.public} at offset " in str(sink["last_error"])
                build.hush()
            for build in builds:
                await build.subscribed.until_received(WITHIN_SECONDS)
        finally:
            proxy.stop_faults()
            stopped.resume()
        for build, first in zip(builds, firsts, strict=True):
            continued_at = offset_of(build.subscribed.lines.messages[0])
            assert continued_at > 0
            await first.until(partial(reaches, continued_at), WITHIN_SECONDS)
            await build.ends()
    for name, seconds in zip(names, took, strict=True):
        check_switch(name, seconds)
