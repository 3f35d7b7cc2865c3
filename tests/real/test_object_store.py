"""The product with a real S3 server that is unreachable, slow, overloaded or refuses the key: no result changes."""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.real.object_server import ACCESS_KEY, SECRET_KEY, ObjectServer, running_object_server
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.product import Product, Receiver, running_product
from tests.support.tcp_proxy import TcpProxy, tcp_proxy

pytestmark = [pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]
BUCKET = "builds"
ALL = ["queued", "pending", "succeeded"]
SLOW_DOWN = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
SEED = 20190417
BUILDS_OVER_A_BAD_NETWORK = 20
# boto3 reuses its connections, so the proxy decides again after about every request.
STRETCH_BYTES = 1_000


@dataclass
class Parts:
    """The parts of the connection, in order: the shuttle, the network, a proxy that can answer instead of S3, S3."""

    product: Product
    network: TcpProxy
    proxy: FaultyProxy
    server: ObjectServer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parts(tmp_path_factory) -> AsyncIterator[Parts]:
    folder = tmp_path_factory.mktemp("objects")
    async with (
        running_object_server(folder) as server,
        faulty_proxy(server.url) as proxy,
        tcp_proxy(SEED, 0, stretch_bytes=STRETCH_BYTES) as network,
    ):
        await asyncio.to_thread(server.make_bucket, BUCKET)
        proxy.page = SLOW_DOWN
        network.target_port = int(proxy.url.rpartition(":")[2])
        async with running_product(
            folder,
            S3_BUCKET=BUCKET,
            S3_LOCATION=network.url,
            S3_ACCESS_KEY=ACCESS_KEY,
            S3_SECRET_KEY=SECRET_KEY,
        ) as product:
            yield Parts(product, network, proxy, server)


# --- faults of S3, each until its context ends


@asynccontextmanager
async def refused(parts: Parts) -> AsyncIterator[None]:
    await parts.network.refuse()
    try:
        yield
    finally:
        await parts.network.listen()


@asynccontextmanager
async def overloaded(parts: Parts) -> AsyncIterator[None]:
    parts.proxy.fault = lambda _request: 503
    try:
        yield
    finally:
        parts.proxy.stop_faults()


@asynccontextmanager
async def silent(parts: Parts) -> AsyncIterator[None]:
    parts.network.fall_silent()
    try:
        yield
    finally:
        parts.network.stop_faults()


@asynccontextmanager
async def another_secret(parts: Parts) -> AsyncIterator[None]:
    await parts.server.stop()
    await parts.server.start(secret_key="somebody-changed-it")
    try:
        yield
    finally:
        await parts.server.stop()
        await parts.server.start()


def gated(product: Product, name: str) -> str:
    gate = product.folder / f"{name}.gate"
    return (
        f"#!/bin/sh\necho ran >> {product.folder}/{name}.ran\necho begun\n"
        f"while [ ! -e {gate} ]; do sleep 0.05; done\nseq 1 500\n"
    )


async def is_whole(product: Product, receiver: Receiver, name: str) -> bytes:
    """Check that the build has succeeded, has run once, and its log is complete; returns the log."""
    log = bytes(receiver.log)
    assert receiver.words() == ALL
    assert receiver.final["log_sha256"] == hashlib.sha256(log).hexdigest()
    assert await product.log(name, "1") == log
    assert (product.folder / f"{name}.ran").read_text().split() == ["ran"]
    return log


async def until_archived(parts: Parts, build_uuid: str, log: bytes) -> None:
    """Wait until the log is archived, which the service does not report: then its spool is deleted."""
    async with asyncio.timeout(40):
        while (parts.product.folder / "data" / "spool" / f"{build_uuid}.log").exists():
            await asyncio.sleep(0.05)
    stored = parts.product.folder / "objects" / BUCKET / f"{build_uuid}.log"
    assert stored.read_bytes() == log


@pytest.mark.parametrize("trouble", [refused, overloaded, silent, another_secret])
async def test_store_fails_at_the_end_of_a_build(parts, trouble):
    product, name = parts.product, f"end-{trouble.__name__}"
    receiver = product.receiver(name)
    await product.submit(name, "1", gated(product, name), receiver)
    await receiver.until(lambda: b"begun\n" in receiver.log)
    async with trouble(parts):
        (product.folder / f"{name}.gate").touch()
        await receiver.until(lambda: receiver.final and receiver.log_ended)
        log = await is_whole(product, receiver, name)
        build = await product.build(name, "1")
        async with product.session.get(f"{product.url}/healthz") as response:
            assert response.status == 200
        async with product.session.get(f"{product.url}/readyz") as response:
            assert (await response.json())["checks"]["object_store"] != "ok"
    await until_archived(parts, build["build_uuid"], log)
    assert await product.log(name, "1") == log


@pytest.mark.parametrize(("trouble", "words"), [(refused, "cannot be reached"), (another_secret, "S3_SECRET_KEY")])
async def test_a_source_that_cannot_be_kept_is_not_accepted(parts, trouble, words):
    product, name = parts.product, f"post-{trouble.__name__}"
    body = {"source": {"url": "data:,archive"}, "pipeline": "script"}
    async with trouble(parts):
        async with product.session.post(f"{product.url}/{name}/1", json=body) as response:
            answer = await response.json()
            assert (response.status, answer["code"]) == (503, "cannot_record")
            assert int(response.headers["Retry-After"]) > 0
            assert words in answer["message"]
        async with product.session.get(f"{product.url}/{name}/1") as response:
            assert response.status == 404
    receiver = product.receiver(name)
    await product.submit(name, "1", gated(product, name), receiver)
    (product.folder / f"{name}.gate").touch()
    await receiver.until(lambda: receiver.final and receiver.log_ended)
    await is_whole(product, receiver, name)


async def test_a_bad_network_between_shuttle_and_store(parts):
    product, network = parts.product, parts.network
    receivers = {f"bad{number}": product.receiver(f"bad{number}") for number in range(BUILDS_OVER_A_BAD_NETWORK)}
    network.share = 0.4
    for name, receiver in receivers.items():
        (product.folder / f"{name}.gate").touch()
        await product.submit(name, "1", gated(product, name), receiver, asks=20)
    for receiver in receivers.values():
        await receiver.until(lambda receiver=receiver: receiver.final and receiver.log_ended, 60)
    network.stop_faults()
    for name, receiver in receivers.items():
        log = await is_whole(product, receiver, name)
        await until_archived(parts, (await product.build(name, "1"))["build_uuid"], log)
    print(f"passed {network.passed}, disturbed {dict(network.disturbed)}")
    assert network.disturbed.total() >= BUILDS_OVER_A_BAD_NETWORK / 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "can be read and written"),
        ({"S3_SECRET_KEY": "wrong-hunter22"}, "S3_SECRET_KEY does not belong to S3_ACCESS_KEY."),
        ({"S3_ACCESS_KEY": "nobody"}, "S3 does not know the key of S3_ACCESS_KEY"),
        ({"S3_BUCKET": "absent"}, "The bucket of S3_BUCKET does not exist"),
    ],
)
async def test_the_doctor_says_what_to_correct(parts, tmp_path: Path, changes, words):
    environment = {
        "JENKINS_URL": "http://127.0.0.1:9/",
        "SHUTTLE_DATA_DIR": str(tmp_path),
        "S3_BUCKET": BUCKET,
        "S3_LOCATION": parts.server.url,
        "S3_ACCESS_KEY": ACCESS_KEY,
        "S3_SECRET_KEY": SECRET_KEY,
        **changes,
    }
    doctor = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "shuttle", "doctor",
        env={**os.environ, **environment}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said = (await doctor.communicate())[0].decode()
    [line] = [line for line in said.splitlines() if " objects " in line]
    assert words in line
    assert line.startswith("problem" if changes else "fine")
    assert "hunter22" not in said
