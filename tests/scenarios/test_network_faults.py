"""A bad network between every pair: small builds succeed, run once each, and every byte and status arrives.

Kafka receives the same; its brokers are reached directly, because they name their own addresses.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from tests.support.free_port import free_port
from tests.support.kafka_cluster import Cluster, kafka_cluster
from tests.support.kafka_topic import Topic, is_finished, joined
from tests.support.product import TOKEN, USER, Product, Receiver, archive, running_product
from tests.support.serving import serving
from tests.support.tcp_proxy import KINDS, TcpProxy, tcp_proxy

pytestmark = pytest.mark.timeout(240)
SEED = 20190417
APPS = 50
# The share of connections that are disturbed. On connections that are kept open the proxy decides again after
# STRETCH_BYTES, which are about three polls of Jenkins.
SHARE = 0.15
STRETCH_BYTES = 4_000
# A request for a source and its answer are larger, so the proxy decides again for each.
SOURCE_BYTES = 500
# All logs are 30 MB as messages, and the mock brokers keep 5 MB of a partition.
LOG_TOPICS = 10
# The fewest disturbances that the test accepts: half of those that were measured with this seed and 200 builds, because
# their number also depends on the machine's speed.
FEWEST = {"Jenkins": 45, "shuttle": 50, "receivers": 15, "sources": 7}


@asynccontextmanager
async def _source_host() -> AsyncIterator[int]:
    """A server of `/source?script=…`, an archive with that build.sh; yields its port."""

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=archive({"build.sh": request.query["script"]}))

    app = web.Application()
    app.router.add_get("/source", serve)
    async with serving(app) as url:
        yield int(url.rpartition(":")[2])


@pytest.mark.parametrize("builds", [70, pytest.param(200, marks=pytest.mark.long)])
async def test_many_builds_over_a_bad_network(tmp_path: Path, builds: int):
    jenkins_port = free_port()
    async with (
        tcp_proxy(SEED, SHARE, longest_before_cut_bytes=STRETCH_BYTES, stretch_bytes=STRETCH_BYTES) as to_jenkins,
        tcp_proxy(SEED + 1, SHARE) as to_shuttle,
        tcp_proxy(SEED + 2, SHARE) as to_receivers,
        tcp_proxy(SEED + 3, SHARE, longest_before_cut_bytes=SOURCE_BYTES, stretch_bytes=SOURCE_BYTES) as to_sources,
        _source_host() as to_sources.target_port,
        kafka_cluster(brokers=2) as kafka,
        _topics(kafka) as (logs, statuses),
    ):
        to_jenkins.target_port = jenkins_port
        async with running_product(
            tmp_path,
            executors=8,
            jenkins_port=jenkins_port,
            JENKINS_URL=to_jenkins.url.replace("://", f"://{USER}:{TOKEN}@"),
            BUILD_SHUTTLE_HOST=to_shuttle.url,
            MAXIMUM_PARALLEL_BUILDS="8",
        ) as product:
            to_shuttle.target_port = _port(product.url)
            to_receivers.target_port = _port(product.receivers_url)
            product.receivers_url = to_receivers.url
            receivers = [product.receiver(f"r{number}") for number in range(builds)]
            for number, receiver in enumerate(receivers):
                webhooks = {
                    "status": [f"{receiver.url}/status", kafka.url("statuses")],
                    "logs": [f"{receiver.url}/log", kafka.url(f"logs{number % LOG_TOPICS}")],
                }
                await _submit(product, to_shuttle, to_sources, number, webhooks)
            async with asyncio.timeout(200):
                for receiver in receivers:
                    await receiver.until(lambda receiver=receiver: receiver.final and receiver.log_ended, 200)
            for number, receiver in enumerate(receivers):
                await _is_whole(product, number, receiver)
                await _is_whole_in_kafka(number, receiver, logs[number % LOG_TOPICS], statuses)
        pairs = {"Jenkins": to_jenkins, "shuttle": to_shuttle, "receivers": to_receivers, "sources": to_sources}
        for name, proxy in pairs.items():
            print(f"to {name}: passed {proxy.passed}, disturbed {dict(proxy.disturbed)}")
            assert proxy.disturbed.total() >= FEWEST[name] * builds // 200
        assert set(to_jenkins.disturbed) == set(to_shuttle.disturbed) == set(KINDS)


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


@asynccontextmanager
async def _topics(kafka: Cluster) -> AsyncIterator[tuple[list[Topic], Topic]]:
    """Readers of the topics of logs, and of that of all statuses."""
    async with AsyncExitStack() as stack:
        names = [*(f"logs{number}" for number in range(LOG_TOPICS)), "statuses"]
        *logs, statuses = [await stack.enter_async_context(kafka.reading(name)) for name in names]
        yield logs, statuses


async def _submit(
    product: Product, to_shuttle: TcpProxy, to_sources: TcpProxy, number: int, webhooks: dict[str, list[str]]
) -> None:
    """Submit over the bad network, and repeat until there is an answer: a repeated request starts nothing.

    Every other source is in the request; the others are fetched from a host.
    """
    direct, product.url = product.url, to_shuttle.url
    script = f"#!/bin/sh\necho ran >> {product.folder}/{number}.ran\nseq 1 {number * 5 + 1}\n"
    hosted: dict[str, Any] = {"source": {"url": str(URL(f"{to_sources.url}/source") % {"script": script})}}
    try:
        while True:
            with suppress(aiohttp.ClientError):
                fields = hosted if number % 2 else {}
                return await product.submit(f"app{number % APPS}", str(number), script, webhooks=webhooks, **fields)
    finally:
        product.url = direct


async def _is_whole(product: Product, number: int, receiver: Receiver) -> None:
    log = bytes(receiver.log)
    assert receiver.words() == ["queued", "pending", "succeeded"], (number, receiver.final, log[-600:])
    assert receiver.final["log_sha256"] == hashlib.sha256(log).hexdigest(), number
    assert receiver.final["log_bytes"] == len(log), number
    assert await product.log(f"app{number % APPS}", str(number)) == log, number
    assert [int(line) for line in log.split() if line.isdigit()][-1] == number * 5 + 1
    assert (product.folder / f"{number}.ran").read_text().split() == ["ran"], number


async def _is_whole_in_kafka(number: int, receiver: Receiver, logs: Topic, statuses: Topic) -> None:
    """The topics have the log and the statuses that the receiver has."""
    key = f"app{number % APPS}/{number}".encode()

    def ours(messages: list[Any]) -> list[Any]:
        return [message for message in messages if message.key == key]

    await logs.until(lambda messages: is_finished(ours(messages)), 60)
    assert joined(ours(logs.messages))[0] == bytes(receiver.log), number
    final = receiver.final["sequence"]
    await statuses.until(lambda messages: ours(messages)[final - 1 :], 60)
    bodies = {(body := json.loads(message.value))["sequence"]: body for message in ours(statuses.messages)}
    assert list(bodies.values()) == list({each["sequence"]: each for each in receiver.statuses}.values()), number
