"""With PostgreSQL, the shuttle's machine is lost with its disk: what was acknowledged or kept is in S3."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from aiohttp import web

from shuttle.objects.names import piece_object
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.on_postgres import OnPostgres, on_postgres
from tests.support.product import Product, Receiver, end_agents, running_product

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def running() -> Iterator[OnPostgres]:
    with on_postgres() as running:
        yield running


@pytest.fixture
def postgres(running: OnPostgres) -> OnPostgres:
    """With a new database."""
    return replace(running, settings=running.settings | {"DATABASE_URL": running.server.new_url()})


def service_on(postgres: OnPostgres, folder: Path) -> AbstractAsyncContextManager[Product]:
    """The service; a new process waits for the lease of a lost one before it takes its apps."""
    return running_product(folder, postgres=postgres)


def lose_machine(product: Product) -> None:
    """Remove what the shuttle has on its disk."""
    shutil.rmtree(product.folder / "data")


async def whole_log(product: Product, receiver: Receiver) -> bytes:
    """The log after the build's end, which receiver, final status and archive agree on."""
    await receiver.until(lambda: receiver.final and receiver.log_ended, 60)
    log = bytes(receiver.log)
    assert receiver.final is not None
    assert (receiver.final["log_bytes"], receiver.final["log_sha256"]) == (len(log), hashlib.sha256(log).hexdigest())
    build = await product.build("app", "1")
    assert build["log"] == {"bytes": len(log), "sha256": hashlib.sha256(log).hexdigest(), "complete": True}
    assert await product.archived_log(build["build_uuid"]) == log
    return log


async def until_kept(product: Product, text: bytes) -> None:
    """Wait until pieces in the bucket have this text, and are recorded as stored."""
    build_uuid = (await product.build("app", "1"))["build_uuid"]
    assert product.postgres is not None
    await product.postgres.until("log_pieces", lambda: text in recorded_pieces_of(product, build_uuid))


def recorded_pieces_of(product: Product, build_uuid: str) -> bytes:
    """The pieces from which a log is restored: their rows are recorded before and after the objects are stored."""
    assert product.postgres is not None
    stored = (
        "SELECT offset_bytes, size_bytes FROM log_pieces WHERE stored_at IS NOT NULL AND build_uuid = %s ORDER BY 1"
    )
    with psycopg.connect(product.postgres.settings["DATABASE_URL"]) as connection:
        rows = connection.execute(stored, (build_uuid,)).fetchall()
    return b"".join(product.postgres.object_of(piece_object(build_uuid, *row)) or b"" for row in rows)


def pieces_of(product: Product, build_uuid: str) -> bytes:
    assert product.postgres is not None
    bucket, client = product.postgres.settings["S3_BUCKET"], product.postgres.client
    found = client.list_objects_v2(Bucket=bucket, Prefix=f"{build_uuid}.log.").get("Contents", [])
    names = sorted((one["Key"] for one in found), key=lambda name: int(name.rpartition(".")[2].split("-")[0]))
    return b"".join(product.postgres.object_of(name) or b"" for name in names)


async def submit(product: Product, receiver: Receiver, while_waiting: str) -> Path:
    """A build that waits until the returned file exists, and whose first lines are kept."""
    gate = product.folder / "gate"
    loop = f"while [ ! -e {gate} ]; do {while_waiting}; sleep 0.05; done"
    await product.submit("app", "1", f"#!/bin/sh\nseq 1 3000\n{loop}\nseq 1 100\necho over\n", receiver)
    await until_kept(product, b"\n3000\n")
    return gate


async def test_build_continues_with_the_same_log_after_the_machine_was_lost(postgres: OnPostgres, tmp_path: Path):
    async with service_on(postgres, tmp_path) as product:
        receiver = product.receiver()
        gate = await submit(product, receiver, "echo tick")
        await product.shuttle.kill()
        lose_machine(product)
        await product.shuttle.start()
        gate.touch()
        log = await whole_log(product, receiver)
        assert receiver.words() == ["queued", "pending", "succeeded"]
        numbers = [f"{number}".encode() for number in range(1, 3001)]
        assert [line for line in log.splitlines() if line.isdigit()] == numbers + numbers[:100]
        assert "a log was restored from its pieces" in product.shuttle.output()
        build_uuid = (await product.build("app", "1"))["build_uuid"]
        await postgres.until("log_pieces", lambda: not pieces_of(product, build_uuid), 10)


async def test_log_that_was_kept_outlives_the_machines_of_shuttle_and_agent(postgres: OnPostgres, tmp_path: Path):
    async with service_on(postgres, tmp_path) as product:
        receiver = product.receiver()
        await submit(product, receiver, "true")
        await product.shuttle.kill()
        end_agents(tmp_path)
        lose_machine(product)
        await product.shuttle.start()
        log = await whole_log(product, receiver)
        assert b"\n3000\n" in log
        assert receiver.words() == ["queued", "pending", "failed"]


async def test_nothing_of_an_ended_build_is_lost_with_the_machine_before_the_archive(
    postgres: OnPostgres, tmp_path: Path
):
    async with (
        faulty_proxy(postgres.settings["S3_LOCATION"]) as proxy,
        service_on(replace(postgres, settings=postgres.settings | {"S3_LOCATION": proxy.url}), tmp_path) as product,
    ):
        refuse_archives(proxy)
        receiver = product.receiver()
        await product.submit("app", "1", "#!/bin/sh\nseq 1 3000\nexit 3\n", receiver)
        before = await product.until_state("app", "1", "failed", "succeeded")
        await product.shuttle.kill()
        lose_machine(product)
        proxy.stop_faults()
        await product.shuttle.start()
        log = await whole_log(product, receiver)
        assert before["log"]["sha256"] == hashlib.sha256(log).hexdigest()
        assert b"\n2999\n3000\n" in log


def refuse_archives(proxy: FaultyProxy) -> None:
    """Answer 503 when an archived log is stored, and pass on everything else."""

    def fault(request: web.Request) -> int | None:
        return 503 if request.method == "PUT" and request.path.endswith(".log") else None

    proxy.fault = fault
