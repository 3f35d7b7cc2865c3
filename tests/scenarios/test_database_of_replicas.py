"""PostgreSQL crashes and is away for a minute, or loses answers and connections all the time, under three replicas."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.support.counted_builds import CountedBuilds, answer_to_post
from tests.support.separate_replicas import separate_replicas

pytestmark = [pytest.mark.timeout(300), pytest.mark.long]

SEED = 20261128
REPLICAS = range(3)
AWAY_SECONDS = 60
# 3 s, and a margin for a busy machine.
ANSWERED_SECONDS = 4


async def test_postgresql_is_killed_and_away_for_a_minute(tmp_path: Path):
    """Half of the builds end while it is away, one of the others is stopped afterwards."""
    async with separate_replicas(tmp_path) as (product, _):
        assert product.postgres is not None
        builds, stopped = CountedBuilds(product), product.receiver("stopped")
        for index in REPLICAS:
            await builds.submit(f"short{index}", at=index)
            await builds.submit(f"long{index}", at=index, part_seconds=AWAY_SECONDS / 8)
        await product.submit("stopped", "1", "#!/bin/sh\necho begun; sleep 600\n", stopped)
        await builds.until_running()
        await stopped.until(lambda: b"begun" in stopped.log)
        product.postgres.server.stop(signal.SIGKILL)
        back = asyncio.get_running_loop().time() + AWAY_SECONDS
        while asyncio.get_running_loop().time() < back:
            for index in REPLICAS:
                status, has_pause, took_seconds = await answer_to_post(product.at(index))
                assert (status, has_pause, took_seconds < ANSWERED_SECONDS) == (503, True, True)
                async with product.session.delete(f"{product.at(index).url}/stopped/1") as response:
                    assert (response.status, "Retry-After" in response.headers) == (503, True)
        await asyncio.to_thread(product.postgres.server.start)
        began = asyncio.get_running_loop().time()
        await builds.submit("after")
        print(f"a build was accepted {asyncio.get_running_loop().time() - began:.1f} s after the start")
        await builds.until_whole(120)
        async with asyncio.timeout(10):
            while (await product.session.delete(f"{product.url}/stopped/1")).status == 503:
                pass
        await stopped.until(lambda: stopped.final)
        assert stopped.words() == ["queued", "pending", "failed"]
        builds.assert_no_bug_was_logged()


async def test_answers_to_commits_are_lost_and_connections_ended_all_the_time(tmp_path: Path):
    async with separate_replicas(tmp_path, seed=SEED) as (product, links):
        builds = CountedBuilds(product)
        for each in links:
            each.database.lost_commits, each.database.ended = 0.05, 0.01
        for number in ("1", "2", "3"):
            for app in range(8):
                await builds.submit(f"app{app}", number, part_seconds=0.3)
        await builds.until_whole(150)
        faults = [each.database.faults for each in links]
        print(f"faults of the connections of each replica: {faults}")
        assert all(each["commit"] > 5 and each["end"] > 5 for each in faults)
        builds.assert_no_bug_was_logged()
