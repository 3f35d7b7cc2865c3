"""A replica is stopped for longer than its lease, also inside a transaction, and continues later; or is replaced."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.support.counted_builds import CountedBuilds
from tests.support.free_port import free_port
from tests.support.product import Process, Product
from tests.support.separate_replicas import freeze, separate_replicas, until_owner_is_not, until_raised
from tests.support.tcp_proxy import tcp_proxy

pytestmark = [pytest.mark.timeout(400), pytest.mark.long]

LOST = ("a", "b", "c")
# A statement of which the frozen replica does not get the answer, and what its transaction keeps locked.
STATEMENTS = {
    "UPDATE replicas": "its counter",
    "FOR KEY SHARE": "its ownership of an app",
    "pg_advisory_xact_lock": "the assignment of slots",
    "COMMIT": "nothing",
}
# The lease, a transaction of 5 s that the server ends, and pauses before repetitions; the machine may be busy.
TAKEN_SECONDS = 30


async def test_replica_that_is_frozen_in_a_transaction_holds_up_nobody(tmp_path: Path):
    async with separate_replicas(tmp_path) as (product, links):
        for number, statement in enumerate(STATEMENTS):
            builds, lost = CountedBuilds(product), [f"{app_id}{number}" for app_id in LOST]
            for app_id in lost:
                await builds.submit(app_id, at=0, part_seconds=0.3)
            await builds.until_running()
            links[0].database.hold_answer_to(statement)
            await links[0].database.until_held()
            frozen = freeze(product, 0)
            other = asyncio.create_task(until_other_build_has_ended(product, f"other{number}"))
            seconds = await until_owner_is_not(product, frozen, lost)
            print(f"{statement}: all apps had another owner after {seconds:.1f} s, a build {await other:.1f} s")
            assert seconds < TAKEN_SECONDS
            await builds.until_whole()
            calls = builds.calls()
            links[0].database.release()
            os.kill(frozen.pid, signal.SIGCONT)
            await until_raised(product, frozen)
            assert builds.calls() == calls
            await product.balancer.until_in(product.ports[0])
            builds.assert_no_bug_was_logged()


async def until_other_build_has_ended(product: Product, app_id: str) -> float:
    """Run a build with another replica; returns the seconds that it took."""
    began, others = asyncio.get_running_loop().time(), CountedBuilds(product)
    await others.submit(app_id, at=1, part_seconds=0)
    await others.until_whole(TAKEN_SECONDS)
    return asyncio.get_running_loop().time() - began


async def test_new_instance_with_the_name_and_address_of_a_frozen_one(tmp_path: Path):
    """Like a pod that is replaced while the machine of the old pod hangs; later the old one continues for a while."""
    async with tcp_proxy(0, 0) as address:
        named = {"SHUTTLE_REPLICA_NAME": "shuttle-0", "SHUTTLE_REPLICA_URL": address.url}
        async with separate_replicas(tmp_path, first=named) as (product, links):
            assert product.postgres is not None
            address.target_port = product.ports[0]
            builds = CountedBuilds(product)
            for app_id in LOST:
                await builds.submit(app_id, at=0)
            await builds.submit("other", at=1)
            await builds.until_running()
            old, new = freeze(product, 0), successor(product, tmp_path, links[0].settings(product.postgres))
            address.target_port = int(new.environment["PORT"])
            await new.start()
            try:
                await builds.until_whole()
                calls = builds.calls()
                os.kill(old.pid, signal.SIGCONT)
                await old.until_logged("another replica has taken over an app")
                assert builds.calls() == calls
                postgres, named_so = product.postgres, "SELECT count(*) FROM replicas WHERE name = 'shuttle-0'"
                await postgres.until("replicas", lambda: postgres.query(named_so) == [(2,)])
                await until_raised(product, product.replicas[1])
                assert (await names_of_replicas(product.at(1))).count("shuttle-0") == 2
                await builds.submit("again", at=1)
                await builds.until_whole()
                builds.assert_no_bug_was_logged()
            finally:
                await new.kill()


async def names_of_replicas(product: Product) -> list[str]:
    async with product.session.get(f"{product.url}/-/replicas") as response:
        return [each["name"] for each in (await response.json())["replicas"]]


def successor(product: Product, folder: Path, settings: dict[str, str]) -> Process:
    """Another start with the settings of the first replica, on another machine: its own port and folder."""
    port = free_port()
    own = {**settings, "PORT": str(port), "SHUTTLE_DATA_DIR": str(folder / "successor")}
    environment = {**product.replicas[0].environment, **own}
    return Process(["serve"], environment, f"http://127.0.0.1:{port}/-/openapi.json", folder / "successor.out")
