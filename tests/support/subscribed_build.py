"""A build whose statuses and log are sent by HTTP and to Kafka, and a check that both have received all of it."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Sequence
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
class SubscribedBuild:
    """A build of the app `name`: its statuses and log go to `receiver` and to topics, by default NAME-status, NAME-log.

    `topics` are the log's and the statuses' topic of each cluster, in the order of a failover.
    """

    product: Product
    name: str
    receiver: Receiver
    webhooks: dict[str, list[str]]
    topics: Sequence[tuple[Topic, Topic]]
    build_id: str = "1"

    @property
    def lines(self) -> Topic:
        """The log's topic in the last cluster, where the log ends."""
        return self.topics[-1][0]

    @property
    def statuses(self) -> Topic:
        """The statuses' topic in the last cluster."""
        return self.topics[-1][1]

    async def submit(self, script: str, **fields: Any) -> None:
        """Request the build; each run of its build.sh adds a line to a file."""
        marking = f"#!/bin/sh\necho ran >> {self._mark}\n{script}\n"
        await self.product.submit(self.name, self.build_id, marking, webhooks=self.webhooks, **fields)

    @property
    def _mark(self) -> Any:
        return self.product.folder / f"{self.name}-{self.build_id}.ran"

    async def until_received(self, seconds: float = 30) -> None:
        """Wait until everything has arrived. A failure shows what has, the build's record and the shuttle's log."""
        try:
            async with asyncio.timeout(seconds):
                await self.receiver.until(lambda: self.receiver.final and self.receiver.log_ended, seconds)
                await self.lines.until(is_finished, seconds)
                last = self.receiver.final["sequence"]
                await self.statuses.until(lambda all_: any(_body(each)["sequence"] == last for each in all_), seconds)
        except TimeoutError:
            raise AssertionError(await self._state()) from None

    async def _state(self) -> str:
        """What has arrived so far, the build's record, and the end of the output of each shuttle."""
        lines, statuses = self.lines.messages, self.statuses.messages
        return (
            f"by HTTP: {self.receiver.words()}, {len(self.receiver.log)} bytes, {self.receiver.log_ended} ends"
            f"\nby Kafka: {[_body(each)['status'] for each in statuses]}, {len(lines)} lines, {is_finished(lines)=}"
            f"\n{await self.product.build(self.name, '1')}\n"
            + "\n".join(replica.output()[-6000:] for replica in self.product.replicas)
        )

    async def received_log(self, words: list[str] = SUCCEEDED, seconds: float = 30) -> bytes:
        """The log, after a check: the build ran once, and HTTP, Kafka, the archive and the final status have all of it.

        A duplicate has the same offset, or the same webhook-id, and the same content.
        """
        await self.until_received(seconds)
        by_http = zip(self.receiver.webhook_ids, self.receiver.statuses, strict=True)
        by_kafka = [
            (header(each, "webhook-id"), _body(each)) for _, statuses in self.topics for each in statuses.messages
        ]
        events = _events(by_http)
        assert events == _events(by_kafka)
        assert [event["status"] for event in events.values()] == words
        log, log_bytes = joined([each for lines, _ in self.topics for each in lines.messages])
        assert log == bytes(self.receiver.log) == await self.product.log(self.name, self.build_id)
        final = list(events.values())[-1]
        assert (final["log_bytes"], final["log_sha256"]) == (log_bytes, hashlib.sha256(log).hexdigest())
        build = await self._settled()
        assert [(sink["acked_offset"], sink["lag_bytes"]) for sink in build["sinks"]] == [(log_bytes, 0)] * 2
        assert await self.product.archived_log(build["build_uuid"]) == log
        assert self._mark.read_text().split() == ["ran"]
        return log

    async def _settled(self) -> dict[str, Any]:
        """The build's record, once it shows that both sinks have the whole log, which may be a moment later."""
        async with asyncio.timeout(20):
            while True:
                build = await self.product.build(self.name, self.build_id)
                if {sink["state"] for sink in build["sinks"]} == {"done"}:
                    return build
                await asyncio.sleep(0.02)


def _body(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(message.value)
    return found


def _events(received: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The events by their id, in order; a duplicate equals the original and comes before any newer event."""
    events: dict[str, dict[str, Any]] = {}
    for webhook_id, body in received:
        assert events.setdefault(webhook_id, body) == body
        assert body["sequence"] == len(events)
    return events


@asynccontextmanager
async def subscribed_build(
    product: Product, kafka: Kafka, name: str, *, preferred: Kafka | None = None
) -> AsyncIterator[SubscribedBuild]:
    """Its receivers listen before it is submitted. With a preferred cluster its hooks are failovers, `kafka` last."""
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
        yield SubscribedBuild(product, name, receiver, webhooks, topics)


def _hook(clusters: list[Kafka], topic: str) -> str:
    urls = [cluster.url(topic) for cluster in clusters]
    return urls[0] if len(urls) == 1 else f"failover({', '.join(urls)})"


@asynccontextmanager
async def subscribed_builds(
    product: Product, kafka: Kafka, names: Sequence[str], build_ids: Sequence[str]
) -> AsyncIterator[list[SubscribedBuild]]:
    """These builds of each app, all first builds first. All logs go to one topic, all statuses to another one."""
    async with kafka.reading("all-log") as logs, kafka.reading("all-status") as statuses:
        made = []
        for build_id in build_ids:
            for name in names:
                receiver, key = product.receiver(f"{name}-{build_id}"), f"{name}/{build_id}".encode()
                webhooks = {
                    "status": [f"{receiver.url}/status", kafka.url("all-status")],
                    "logs": [f"{receiver.url}/log", kafka.url("all-log")],
                }
                topics = [(logs.of_key(key), statuses.of_key(key))]
                made.append(SubscribedBuild(product, name, receiver, webhooks, topics, build_id))
        yield made
