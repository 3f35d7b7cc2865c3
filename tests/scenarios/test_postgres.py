"""PostgreSQL crashes, hangs and ends connections while builds run: every build ends, once, with all of its log."""

import asyncio
import hashlib
import random
import signal
from pathlib import Path

import pytest

from tests.support.product import Product, running_product

pytestmark = pytest.mark.timeout(300)
SEED = 20261127
BUILDS = 20
FAULTS = ("crash", "hang", "connections", "both", "crash")


@pytest.fixture
def _postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTS_DATABASE", "postgresql")


@pytest.mark.usefixtures("_postgresql")
async def test_builds_survive_a_server_that_crashes_hangs_and_ends_connections(tmp_path: Path):
    moments = random.Random(SEED)
    async with running_product(tmp_path, MAXIMUM_PARALLEL_BUILDS="4") as product:
        receivers = {number: product.receiver(f"r{number}") for number in range(BUILDS)}
        script = "#!/bin/sh\necho ran >> {folder}/{number}.ran\nfor i in 1 2 3 4 5 6; do seq 1 50; sleep 0.2; done\n"
        for number, receiver in receivers.items():
            made = script.format(folder=tmp_path, number=number)
            await product.submit(f"app{number % 7}", str(number), made, receiver, asks=20)
        for fault in FAULTS:
            await asyncio.sleep(moments.uniform(0.2, 1.0))
            await cause(fault, product, moments)
        for number, receiver in receivers.items():
            await receiver.until(lambda receiver=receiver: receiver.final and receiver.log_ended, 120)
            assert receiver.words() == ["queued", "pending", "succeeded"], number
            assert receiver.final["log_sha256"] == hashlib.sha256(bytes(receiver.log)).hexdigest()
            assert (tmp_path / f"{number}.ran").read_text().split() == ["ran"]
        assert "Traceback" not in product.shuttle.output()


async def cause(fault: str, product: Product, moments: random.Random) -> None:
    """Cause one fault of the server. `both`: the shuttle is killed, too, and starts while the server is down."""
    assert product.postgres is not None
    server = product.postgres.server
    if fault == "connections":
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'build-shuttle'"
        await asyncio.to_thread(server.execute, end)
    elif fault == "hang":
        server.pause()
        await asyncio.sleep(moments.uniform(1, 6))
        server.resume()
    else:
        server.stop(signal.SIGKILL)
        starting = asyncio.create_task(product.shuttle.restart()) if fault == "both" else None
        await asyncio.sleep(moments.uniform(0.2, 4))
        await asyncio.to_thread(server.start)
        if starting is not None:
            await starting
