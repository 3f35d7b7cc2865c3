"""Replicas that never get a notice, as behind a pooler in transaction mode: they find everything by looking."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.counted_builds import CountedBuilds
from tests.support.on_postgres import on_postgres
from tests.support.product import running_replicas

pytestmark = pytest.mark.timeout(120)

REPLICAS = 3


async def test_builds_wait_for_one_slot_and_a_stop_at_another_replica_without_any_notice(tmp_path: Path):
    """Before, a waiting build never began if another replica granted its slot."""
    with on_postgres() as postgres:
        # LISTEN in another database of the server succeeds, and gets none of the service's notices.
        deaf = urlsplit(postgres.settings["DATABASE_URL"])._replace(path="/postgres").geturl()
        settings: Any = {
            "SHUTTLE_DATABASE_LISTEN_URL": deaf,
            "SHUTTLE_HEARTBEAT_SECONDS": "1",
            "SHUTTLE_LEASE_SECONDS": "10",
            "MAXIMUM_PARALLEL_BUILDS": "1",
        }
        async with running_replicas(tmp_path, REPLICAS, postgres=postgres, **settings) as product:
            builds = CountedBuilds(product)
            for index in range(REPLICAS):
                await builds.submit(f"app{index}", at=index, part_seconds=0.1)
            stopped = product.receiver("stopped")
            await product.at(0).submit("stopped", "1", "true", stopped)
            await product.until_waiting("stopped", "1")
            async with product.session.delete(f"{product.at(1).url}/stopped/1") as answer:
                assert answer.status == 200
            await stopped.until(lambda: stopped.final and stopped.log_ended, 10)
            assert stopped.final is not None
            assert stopped.final["reason"] == "stopped"
            await builds.until_whole(30)
            builds.assert_no_bug_was_logged()
