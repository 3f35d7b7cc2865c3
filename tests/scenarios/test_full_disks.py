"""Disks without space for objects, the spool, the database or uploads: the service stays up, and no result is wrong."""

import asyncio
import hashlib
import io
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.support.free_port import free_port
from tests.support.product import TOKEN, USER, Product, running_product

pytestmark = [pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]
# More than the size of the database in these tests, less than the log of `LONG`.
FILE_LIMIT_BYTES = 6 * 1024 * 1024
JENKINS_PORT = free_port()
JSON = {"Content-Type": "application/json"}
LONG = "seq -f '%0100.0f' 1 80000"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def product(tmp_path_factory):
    async with running_product(tmp_path_factory.mktemp("disks"), jenkins_port=JENKINS_PORT) as running:
        yield running


def gated(folder: Path, name: str, rest: str) -> str:
    return (
        f"#!/bin/sh\necho ran >> {folder}/{name}.ran\necho begun\n"
        f"while [ ! -e {folder}/{name}.gate ]; do sleep 0.05; done\n{rest}\n"
    )


async def works(product: Product, name: str) -> None:
    """A whole build succeeds."""
    receiver = product.receiver(name)
    await product.submit(name, "1", "#!/bin/sh\nseq 1 10\n", receiver)
    await receiver.until(lambda: receiver.final and receiver.log_ended)
    assert receiver.final["status"] == "succeeded"
    assert receiver.final["log_sha256"] == hashlib.sha256(bytes(receiver.log)).hexdigest()


async def until_archived(product: Product, log: bytes) -> None:
    """Wait until an object is this log; the service does not report when it has archived a log."""
    async with asyncio.timeout(40):
        while True:
            objects = product.folder / "data" / "objects"
            if any(path.read_bytes() == log for path in objects.glob("**/*.log") if path.is_file()):
                return
            await asyncio.sleep(0.05)


@contextmanager
def files_limited(product: Product, size_bytes: int) -> Iterator[None]:
    """Limit the size of the shuttle's files: like a full disk, but without root, and for this process only."""
    unlimited = resource.prlimit(product.shuttle.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(product.shuttle.pid, resource.RLIMIT_FSIZE, (size_bytes, unlimited[1]))
    try:
        yield
    finally:
        resource.prlimit(product.shuttle.pid, resource.RLIMIT_FSIZE, unlimited)


async def until_made(path: Path) -> None:
    """Wait until a build's script has made this file."""
    async with asyncio.timeout(30):
        while not path.exists():
            await asyncio.sleep(0.05)


async def until_console_says(product: Product, build: dict[str, Any], text: str) -> None:
    """Wait until the console of the Jenkins build has this text, by following the file of the console."""
    job, number = build["jenkins"]["job"].split("/")[-1], build["jenkins"]["build_number"]
    [console] = (product.folder / "jenkins").glob(f"jobs/**/{job}/builds/{number}/log")
    tail = await asyncio.create_subprocess_exec("tail", "-c", "+1", "-f", console, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(30):
            assert tail.stdout is not None
            async for line in tail.stdout:
                if text in line.decode():
                    return
        raise AssertionError(f"tail of {console} ended")
    finally:
        tail.kill()
        await tail.wait()


async def runs_in_jenkins(product: Product, build: dict[str, Any]) -> bool:
    return bool(json.loads(await from_jenkins(product, build, "api/json?tree=building"))["building"])


async def from_jenkins(product: Product, build: dict[str, Any], what: str) -> str:
    found = build["jenkins"]
    url = f"http://127.0.0.1:{JENKINS_PORT}/job/{found['job']}/{found['build_number']}/{what}"
    headers = {"Authorization": aiohttp.encode_basic_auth(USER, TOKEN)}
    async with product.session.get(url, headers=headers) as response:
        assert response.status == 200
        return await response.text()


async def test_object_directory_gone_at_the_end(product):
    name = "archive"
    objects = product.folder / "data" / "objects"
    receiver = product.receiver(name)
    await product.submit(name, "1", gated(product.folder, name, "seq 1 500"), receiver)
    await receiver.until(lambda: b"begun\n" in receiver.log)
    away = objects.rename(objects.with_name("away"))
    objects.write_text("not a directory")
    (product.folder / f"{name}.gate").touch()
    await receiver.until(lambda: receiver.final and receiver.log_ended)
    log = bytes(receiver.log)
    assert receiver.words() == ["queued", "pending", "succeeded"]
    assert receiver.final["log_sha256"] == hashlib.sha256(log).hexdigest()
    assert await product.log(name, "1") == log
    async with product.session.get(f"{product.url}/healthz") as response:
        assert response.status == 200
    objects.unlink()
    away.rename(objects)
    await until_archived(product, log)
    assert await product.log(name, "1") == log
    await works(product, "after-archive")


async def test_spool_full_in_mid_build(product):
    name = "spool"
    receiver = product.receiver(name)
    await product.submit(name, "1", gated(product.folder, name, f"{LONG}; sleep 600"), receiver)
    await receiver.until(lambda: b"begun\n" in receiver.log)
    with files_limited(product, FILE_LIMIT_BYTES):
        (product.folder / f"{name}.gate").touch()
        await receiver.until(lambda: receiver.final)
        assert receiver.words() == ["queued", "pending", "failed"]
        assert receiver.final["reason"] == "spool_unwritable"
        build = await product.build(name, "1")
        assert not await runs_in_jenkins(product, build)
        await works(product, "beside-spool")
    await receiver.until(lambda: receiver.log_ended)
    log = bytes(receiver.log)
    assert receiver.final["log_sha256"] == hashlib.sha256(log).hexdigest()
    assert log.splitlines()[-1].startswith(b"-----> ")
    await until_archived(product, log)


async def test_spool_cannot_be_created(product):
    name = "no-spool"
    spool = product.folder / "data" / "spool"
    away = spool.rename(spool.with_name("spool-away"))
    spool.write_text("not a directory")
    receiver = product.receiver(name)
    await product.submit(name, "1", "#!/bin/sh\nsleep 600\n", receiver)
    await receiver.until(lambda: receiver.final)
    assert receiver.final["reason"] == "spool_unwritable"
    async with product.session.get(f"{product.url}/healthz") as response:
        assert response.status == 200
    spool.unlink()
    away.rename(spool)
    await receiver.until(lambda: receiver.log_ended)
    await works(product, "after-no-spool")


async def test_database_full_in_mid_build(product):
    name = "database"
    receiver = product.receiver(name)
    worked = product.folder / "worked"
    await product.submit(name, "1", gated(product.folder, name, f"seq 1 500; touch {worked}"), receiver)
    await receiver.until(lambda: b"begun\n" in receiver.log)
    [growing] = (product.folder / "data").glob("*-wal")
    with files_limited(product, growing.stat().st_size):
        (product.folder / f"{name}.gate").touch()
        await until_made(worked)
        body = {"source": {"url": "data:,archive"}, "pipeline": "script"}
        async with product.session.post(f"{product.url}/refused/1", json=body) as response:
            assert (response.status, (await response.json())["code"]) == (503, "cannot_record")
            assert int(response.headers["Retry-After"]) > 0
        async with product.session.delete(f"{product.url}/{name}/1") as response:
            assert (response.status, (await response.json())["code"]) == (503, "store_unavailable")
            assert int(response.headers["Retry-After"]) > 0
        async with product.session.get(f"{product.url}/refused/1") as response:
            assert response.status == 404
        assert (await product.build(name, "1"))["state"] == "running"
        async with product.session.get(f"{product.url}/healthz") as response:
            assert response.status == 200
        async with product.session.get(f"{product.url}/readyz") as response:
            assert response.status == 503
            assert "check the disk" in (await response.json())["checks"]["database"]
        assert await runs_in_jenkins(product, await product.build(name, "1")), "the agent keeps the end of the log"
    await receiver.until(lambda: receiver.final and receiver.log_ended)
    log = bytes(receiver.log)
    assert receiver.words() == ["queued", "pending", "succeeded"]
    assert receiver.final["log_sha256"] == hashlib.sha256(log).hexdigest()
    assert (product.folder / f"{name}.ran").read_text().split() == ["ran"]
    await until_archived(product, log)
    await works(product, "refused")
    assert "Traceback" not in product.shuttle.output()


async def test_no_space_for_uploads(product):
    """A POST with its source in the body is refused at once; the agent repeats the upload of an artifact."""
    name = "passing"
    receiver = product.receiver(name)
    artifact = f"mkdir dist; head -c {2 * FILE_LIMIT_BYTES} /dev/zero > dist/big"
    await product.submit(name, "1", gated(product.folder, name, artifact), receiver)
    await receiver.until(lambda: b"begun\n" in receiver.log)
    large = {"source": {"url": "data:," + "x" * (FILE_LIMIT_BYTES + 1)}, "pipeline": "script"}
    with files_limited(product, FILE_LIMIT_BYTES):
        sent = io.BytesIO(json.dumps(large).encode())
        async with product.session.post(f"{product.url}/large/1", data=sent, headers=JSON) as response:
            assert (response.status, (await response.json())["code"]) == (503, "cannot_record")
            assert "SHUTTLE_DATA_DIR" in (await response.json())["message"]
        (product.folder / f"{name}.gate").touch()
        await until_console_says(product, await product.build(name, "1"), "the call is repeated")
    await receiver.until(lambda: receiver.final and receiver.log_ended)
    assert receiver.words() == ["queued", "pending", "succeeded"]
    assert [found["bytes"] for found in receiver.final["artifacts"]] == [2 * FILE_LIMIT_BYTES]
    assert "Traceback" not in product.shuttle.output()
