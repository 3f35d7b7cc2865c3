"""A bad network between every pair: 200 small builds succeed, run once each, and every byte and status arrives."""

import asyncio
import hashlib
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from tests.product import TOKEN, USER, Product, Receiver, free_port, running_product
from tests.tcp_proxy import KINDS, TcpProxy, tcp_proxy

pytestmark = pytest.mark.timeout(240)
SEED = 20190417
BUILDS = 200
APPS = 50
# Of the connections; Jenkins' are kept alive and few, so more of them suffer, and later.
SHARE, SHARE_OF_JENKINS = 0.15, 0.6
JENKINS_CUT_BYTES = 100_000


async def test_two_hundred_builds_over_a_bad_network(tmp_path: Path):
    jenkins_port = free_port()
    async with (
        tcp_proxy(SEED, SHARE_OF_JENKINS, longest_before_cut_bytes=JENKINS_CUT_BYTES) as to_jenkins,
        tcp_proxy(SEED + 1, SHARE) as to_shuttle,
        tcp_proxy(SEED + 2, SHARE) as to_receivers,
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
            receivers = [product.receiver(f"r{number}") for number in range(BUILDS)]
            for number, receiver in enumerate(receivers):
                await _submit(product, to_shuttle, number, receiver)
            async with asyncio.timeout(200):
                for receiver in receivers:
                    await receiver.until(lambda receiver=receiver: receiver.final and receiver.log_ended, 200)
            for number, receiver in enumerate(receivers):
                await _is_whole(product, number, receiver)
        for proxy in (to_jenkins, to_shuttle, to_receivers):
            print(f"passed {proxy.passed}, suffered {dict(proxy.suffered)}")
        assert to_jenkins.suffered
        assert set(to_jenkins.suffered + to_shuttle.suffered + to_receivers.suffered) == set(KINDS)


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


async def _submit(product: Product, proxy: TcpProxy, number: int, receiver: Receiver) -> None:
    """Through the bad network too, and again until there is an answer: a repeat starts nothing."""
    direct, product.url = product.url, proxy.url
    script = f"#!/bin/sh\necho ran >> {product.folder}/{number}.ran\nseq 1 {number * 5 + 1}\n"
    try:
        while True:
            with suppress(aiohttp.ClientError):
                return await product.submit(f"app{number % APPS}", str(number), script, receiver)
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
