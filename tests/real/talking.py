"""Builds that print lines until the test ends them, for tests that watch Kafka clusters meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiokafka import ConsumerRecord

from tests.real.kafka_brokers import Brokers
from tests.support.kafka_topic import Topic, line_of, offset_of
from tests.support.product import Product
from tests.support.subscribed_build import Kafka, SubscribedBuild, subscribed_build

WITHIN_SECONDS = 60


class Talking:
    """A subscribed build that prints a line every 20 ms."""

    def __init__(self, subscribed: SubscribedBuild) -> None:
        self.subscribed = subscribed
        self.submitted_at = 0.0
        self._gate = subscribed.product.folder / f"{subscribed.name}.gate"

    async def submit(self) -> None:
        self.submitted_at = time.time()
        await self.subscribed.submit(
            f'seq 1 2000\nn=2000\nwhile [ ! -e "{self._gate}" ]; do '
            'n=$((n+1)); echo "  line $n: żółw"; sleep 0.02; done\nprintf "no end"'
        )

    async def arrives(self, topic: Topic | None = None) -> float:
        """Wait until the topic has output that is newer than this call; returns how many seconds that took."""
        began_at, now = time.monotonic(), len(self.subscribed.receiver.log)
        await (topic or self.subscribed.lines).until(
            lambda messages: bool(messages) and offset_of(messages[-1]) > now, WITHIN_SECONDS
        )
        return time.monotonic() - began_at

    async def sink(self, *states: str) -> dict[str, Any]:
        """The log's Kafka sink as the service shows it, once it is in one of these states."""
        product, name = self.subscribed.product, self.subscribed.name
        async with asyncio.timeout(WITHIN_SECONDS):
            while (sink := (await product.build(name, "1"))["sinks"][1])["state"] not in states:
                await asyncio.sleep(0.05)
        return dict(sink)

    def hush(self) -> None:
        """Let the build end."""
        self._gate.touch()

    async def ends(self) -> bytes:
        """Let the build end, and wait until every receiver has the whole log, which is returned."""
        self.hush()
        log = await self.subscribed.received_log(seconds=WITHIN_SECONDS)
        assert b"\nno end" in log
        return log


@asynccontextmanager
async def talking(
    product: Product, cluster: Brokers, names: Sequence[str], *, preferred: Sequence[Kafka | None] | None = None
) -> AsyncIterator[list[Talking]]:
    """Start a build for each name and wait until all print; `preferred` has each build's first member of a failover."""
    await cluster.make_topics(*topics_of(names))
    firsts: Sequence[Kafka | None] = preferred or [None] * len(names)
    async with AsyncExitStack() as stack:
        builds = [
            Talking(await stack.enter_async_context(subscribed_build(product, cluster, name, preferred=first)))
            for name, first in zip(names, firsts, strict=True)
        ]
        for build in builds:
            await build.submit()
        for build in builds:
            await build.subscribed.receiver.until(lambda build=build: b" line " in build.subscribed.receiver.log)
        yield builds


def topics_of(names: Sequence[str]) -> list[str]:
    """The topics of subscribed builds of these names."""
    return [f"{name}-{use}" for name in names for use in ("log", "status")]


def reaches(offset: int, messages: Sequence[ConsumerRecord]) -> bool:
    """Whether the messages have all bytes up to this offset, at which a line begins."""
    return bool(messages) and offset_of(messages[-1]) + len(line_of(messages[-1])) >= offset
