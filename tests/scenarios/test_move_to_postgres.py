"""A service with running builds is moved from SQLite to PostgreSQL and S3 by a command that is killed meanwhile."""

import asyncio
import hashlib
import json
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.on_postgres import OnPostgres, on_postgres
from tests.support.postgres_server import PASSWORD
from tests.support.product import Product, Receiver, running_product

pytestmark = pytest.mark.timeout(300)
# Statuses are retried for as long as the test takes.
SCHEDULE = "0" + ",1" * 300
# The steps of a move after which it is killed, in their order (see `shuttle/move/run.py`), each at its n-th call.
STEPS = (
    ("target", "Target.reserve", 1),
    ("target", "Target.reserve", 2),
    ("source", "Source.begin", 1),
    ("target", "_copy", 1),
    ("target", "_copy", 8),
    ("target", "Target.fill", 1),
    ("target", "Target.commit", 1),
    ("source", "Source.end", 1),
)
KILLED_AFTER = """
import os, signal, sys
from operator import attrgetter
import shuttle.move.{module} as module
from shuttle.cli import main

owner = attrgetter("{owner}")(module) if "{owner}" else module
step, calls = owner.{method}, []

def killed(*arguments):
    result = step(*arguments)
    calls.append(1)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

owner.{method} = killed
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def running() -> Iterator[OnPostgres]:
    with on_postgres() as running:
        yield running


@dataclass
class Work:
    """What the service has to do when it is stopped: `gate` ends its running builds, `refusing` a receiver's errors."""

    gate: Path
    receivers: Mapping[str, Receiver]
    refusing: bool = True


async def begun_work(product: Product) -> Work:
    """Builds that wait for a slot or their app, run with growing logs, are archived, or have statuses in retries."""
    names = ("run/1", "run/2", "other/1", "waits/1", "archived/1", "retries/1")
    work = Work(product.folder / "gate", {name: product.receiver(name.replace("/", "-")) for name in names})
    accept = work.receivers["retries/1"].on_status

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=500) if work.refusing else await accept(request)

    work.receivers["retries/1"].on_status = refuse  # type: ignore[method-assign]
    for name in ("archived/1", "retries/1"):
        app_id, build_id = name.split("/")
        await product.submit(app_id, build_id, script_of(product, name, "seq 1 500"), work.receivers[name], asks=20)
        build = await product.until_state(app_id, build_id, "succeeded")
        assert await product.archived_log(build["build_uuid"])
        await work.receivers[name].until(lambda name=name: work.receivers[name].log_ended)
    ticking = f"i=0; while [ ! -e {work.gate} ]; do i=$((i+1)); echo tick $i; sleep 0.02; done; seq 1 500"
    # Those that wait come when both slots are taken: the build whose source is staged first gets a free slot.
    for together in (("run/1", "other/1"), ("waits/1", "run/2")):
        for name in together:
            app_id, build_id = name.split("/")
            await product.submit(app_id, build_id, script_of(product, name, ticking), work.receivers[name], asks=20)
        for name in ("run/1", "other/1"):
            await work.receivers[name].until(lambda name=name: b"tick 40\n" in work.receivers[name].log)
    return work


def script_of(product: Product, name: str, commands: str) -> str:
    return f"#!/bin/sh\necho ran >> {product.folder}/{name.replace('/', '-')}.ran\n{commands}\n"


async def move(product: Product, settings: Mapping[str, str], *, after: tuple[str, str, int] | None = None) -> Any:
    """Run `shuttle migrate`; returns its report. If it is killed after a step, returns None."""
    path = product.folder / "data" / "shuttle.db"
    program = ["-m", "shuttle"]
    if after is not None:
        module, name, call = after
        owner, _, method = name.rpartition(".")
        program = ["-c", KILLED_AFTER.format(module=module, owner=owner, method=method, call=call)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *program, "migrate", "--from", f"sqlite:///{path}", "--json"),
        env={**product.shuttle.environment, **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert PASSWORD.encode() not in out + err
    if process.returncode == -signal.SIGKILL:
        return None
    assert (process.returncode, after) == (0, None), err.decode()
    return json.loads(out)


async def assert_not_served(product: Product) -> None:
    """The old file is refused, by one sentence that names the database without its password."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "shuttle", "serve"),
        env={**product.shuttle.environment},
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    last = err.decode().splitlines()[-1]
    assert process.returncode == 2, err.decode()
    assert last.startswith("shuttle: This database was moved to postgresql://127.0.0.1:")
    assert PASSWORD not in err.decode()
    assert "Traceback" not in err.decode()


async def assert_everything_arrives(product: Product, work: Work) -> None:
    """All builds end, each after one execution, with equal logs everywhere and their statuses in order."""
    for name, receiver in work.receivers.items():
        await receiver.until(lambda receiver=receiver: receiver.final and receiver.log_ended, 90)
        log = bytes(receiver.log)
        sums = (len(log), hashlib.sha256(log).hexdigest())
        assert receiver.words() == ["queued", "pending", "succeeded"], name
        assert receiver.final is not None
        assert (receiver.final["log_bytes"], receiver.final["log_sha256"]) == sums, name
        app_id, build_id = name.split("/")
        build = await product.build(app_id, build_id)
        assert (build["log"]["bytes"], build["log"]["sha256"]) == sums, name
        assert await product.archived_log(build["build_uuid"]) == log, name
        assert await product.log(app_id, build_id) == log, name
        ticks = [int(line[5:]) for line in log.splitlines() if line.startswith(b"tick ")]
        assert ticks == list(range(1, len(ticks) + 1)), name
        assert [line for line in log.splitlines() if line.isdigit()] == [b"%d" % number for number in range(1, 501)]
        assert (product.folder / f"{name.replace('/', '-')}.ran").read_text().split() == ["ran"], name


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(signal.SIGTERM, id="stopped"),
        # The command is killed at eight moments, and repeated each time.
        pytest.param(signal.SIGKILL, id="killed", marks=pytest.mark.long),
    ],
)
async def test_service_continues_on_postgresql(running: OnPostgres, tmp_path: Path, how: signal.Signals):
    postgres = replace(running, settings=running.settings | {"DATABASE_URL": running.server.new_url()})
    async with running_product(
        tmp_path, MAXIMUM_PARALLEL_BUILDS="2", SHUTTLE_WEBHOOK_SCHEDULE_SECONDS=SCHEDULE
    ) as product:
        work = await begun_work(product)
        await product.shuttle.kill(how)
        key = (tmp_path / "data" / "encryption.key").read_text()
        keys = postgres.settings["SHUTTLE_ENCRYPTION_KEYS"] + "," + key
        settings = postgres.settings | {"SHUTTLE_ENCRYPTION_KEYS": keys}
        if how is signal.SIGKILL:
            for step in STEPS:
                await move(product, settings, after=step)
        report = await move(product, settings)
        assert report["moved_from"] == report["moved_to"]
        assert report["moved_to"]["builds"]["count"] == len(work.receivers)
        assert report["moved_to"]["running logs"]["count"] >= 2
        assert await move(product, settings) == report
        await assert_not_served(product)
        new = {"SHUTTLE_DATA_DIR": str(tmp_path / "new data")} if how is signal.SIGKILL else {}
        product.shuttle.configure(settings | new)
        product.postgres = postgres
        await product.shuttle.start()
        work.gate.touch()
        await work.receivers["other/1"].until(lambda: work.receivers["other/1"].final, 60)
        work.refusing = False
        await assert_everything_arrives(product, work)
