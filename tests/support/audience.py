"""Who hears of one build by HTTP and by Kafka at once, and the proof that both heard all of it."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from tests.support.kafka_topic import Topic, header, is_finished, joined
from tests.support.product import Product, Receiver

SUCCEEDED = ["queued", "pending", "succeeded"]


class Kafka(Protocol):
    """A cluster of any kind; a real one has its topics made before."""

    def url(self, topic: str) -> str: ...

    def reading(self, topic: str) -> AbstractAsyncContextManager[Topic]: ...


@dataclass
class Audience:
    """Statuses and the log of build `1` of the app `name` go to a receiver and to the topics NAME-status, NAME-log.

    `topics` are those of each cluster of a failover that they go through: the log's and the statuses'.
    """

    product: Product
    name: str
    receiver: Receiver
    webhooks: dict[str, list[str]]
    topics: list[tuple[Topic, Topic]]

    @property
    def lines(self) -> Topic:
        """The log where it ends: in the last cluster."""
        return self.topics[-1][0]

    @property
    def statuses(self) -> Topic:
        """Those of the last cluster."""
        return self.topics[-1][1]

    async def submit(self, script: str, **fields: Any) -> None:
        """Ask for the build; its build.sh leaves a mark each time it runs."""
        marking = f"#!/bin/sh\necho ran >> {self._mark}\n{script}\n"
        await self.product.submit(self.name, "1", marking, webhooks=self.webhooks, **fields)

    @property
    def _mark(self) -> Any:
        return self.product.folder / f"{self.name}.ran"

    async def hears_the_end(self, seconds: float = 30) -> None:
        """Until everything has arrived; fails with what has arrived, and what the shuttle says of it."""
        try:
            async with asyncio.timeout(seconds):
                await self.receiver.until(lambda: self.receiver.final and self.receiver.log_ended, seconds)
                await self.lines.until(is_finished, seconds)
                last = self.receiver.final["sequence"]
                await self.statuses.until(lambda all_: any(_body(each)["sequence"] == last for each in all_), seconds)
        except TimeoutError:
            raise AssertionError(await self._heard()) from None

    async def _heard(self) -> str:
        """What has arrived so far, the read side, and the end of the shuttle's output."""
        lines, statuses = self.lines.messages, self.statuses.messages
        return (
            f"by HTTP: {self.receiver.words()}, {len(self.receiver.log)} bytes, {self.receiver.log_ended} ends"
            f"\nby Kafka: {[_body(each)['status'] for each in statuses]}, {len(lines)} lines, {is_finished(lines)=}"
            f"\n{await self.product.build(self.name, '1')}\n{self.product.shuttle.output()[-6000:]}"
        )

    async def heard_all(self, words: list[str] = SUCCEEDED, seconds: float = 30) -> bytes:
        """The build ran once; both have the same log to the byte, as the archive and the final status say; the log.

        Doubles have the same offset, or the same webhook-id, and say the same.
        """
        await self.hears_the_end(seconds)
        by_http = zip(self.receiver.webhook_ids, self.receiver.statuses, strict=True)
        by_kafka = [
            (header(each, "webhook-id"), _body(each)) for _, statuses in self.topics for each in statuses.messages
        ]
        events = _events(by_http)
        assert events == _events(by_kafka)
        assert [event["status"] for event in events.values()] == words
        log, log_bytes = joined([each for lines, _ in self.topics for each in lines.messages])
        assert log == bytes(self.receiver.log) == await self.product.log(self.name, "1")
        final = list(events.values())[-1]
        assert (final["log_bytes"], final["log_sha256"]) == (log_bytes, hashlib.sha256(log).hexdigest())
        build = await self._settled()
        assert [(sink["acked_offset"], sink["lag_bytes"]) for sink in build["sinks"]] == [(log_bytes, 0)] * 2
        assert await self.product.archived_log(build["build_uuid"]) == log
        assert self._mark.read_text().split() == ["ran"]
        return log

    async def _settled(self) -> dict[str, Any]:
        """The read side, once it says that both have the whole log; what it is told, it shows a moment later."""
        async with asyncio.timeout(20):
            while True:
                build = await self.product.build(self.name, "1")
                if {sink["state"] for sink in build["sinks"]} == {"done"}:
                    return build
                await asyncio.sleep(0.02)


def _body(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(message.value)
    return found


def _events(heard: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """By their id, in their order; a double says what it said before, and comes before anything newer."""
    events: dict[str, dict[str, Any]] = {}
    for webhook_id, body in heard:
        assert events.setdefault(webhook_id, body) == body
        assert body["sequence"] == len(events)
    return events


@asynccontextmanager
async def audience(
    product: Product, kafka: Kafka, name: str, *, preferred: Kafka | None = None
) -> AsyncIterator[Audience]:
    """It listens before there is anything to hear. With a preferred cluster the hooks are failovers, `kafka` last."""
    receiver = product.receiver(name)
    clusters = [kafka] if preferred is None else [preferred, kafka]
    log_topic, status_topic = f"{name}-log", f"{name}-status"
    webhooks = {
        "status": [f"{receiver.url}/status", _hook(clusters, status_topic)],
        "logs": [f"{receiver.url}/log", _hook(clusters, log_topic)],
    }
    async with AsyncExitStack() as stack:
        topics = [
            (
                await stack.enter_async_context(cluster.reading(log_topic)),
                await stack.enter_async_context(cluster.reading(status_topic)),
            )
            for cluster in clusters
        ]
        yield Audience(product, name, receiver, webhooks, topics)


def _hook(clusters: list[Kafka], topic: str) -> str:
    urls = [cluster.url(topic) for cluster in clusters]
    return urls[0] if len(urls) == 1 else f"failover({', '.join(urls)})"
