"""Several replicas on one database: kills, freezes and partitions of one are not noticed by callers and receivers."""

import asyncio
import hashlib
import signal
from pathlib import Path

import pytest

from tests.support.product import Process, Product, running_replicas

pytestmark = pytest.mark.timeout(180)

SLOW = """#!/bin/sh
echo ran >> {ran}
for i in 1 2 3 4 5 6 7 8 9 10; do seq $((i * 100)) $((i * 100 + 99)); sleep 0.5; done
"""


async def owner_of(product: Product, app_id: str) -> Process:
    """The replica that owns the app."""
    assert product.postgres is not None
    query = f"SELECT name FROM replicas JOIN apps ON owner = instance WHERE app_id = '{app_id}'"
    ((name,),) = await asyncio.to_thread(product.postgres.query, query)
    pid = int(name.rsplit("-", 1)[1])
    return next(replica for replica in product.replicas if replica.pid == pid)


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_builds_of_a_lost_replica_go_on(how: str, tmp_path: Path):
    ran = tmp_path / "ran"
    async with running_replicas(tmp_path, 2) as product:
        receiver = product.receiver()
        await product.submit("app", "1", SLOW.format(ran=ran), receiver)
        await receiver.until(lambda: len(receiver.log) > 500)
        lost = await owner_of(product, "app")
        await lost.kill(signal.SIGKILL if how == "killed" else signal.SIGTERM)
        await receiver.until(lambda: receiver.final and receiver.log_ended, 60)
        assert receiver.words() == ["queued", "pending", "succeeded"]
        assert receiver.final["log_sha256"] == hashlib.sha256(bytes(receiver.log)).hexdigest()
        assert ran.read_text().split() == ["ran"]
        assert all("Traceback" not in replica.output() for replica in product.replicas)
