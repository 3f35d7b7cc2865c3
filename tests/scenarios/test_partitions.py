"""One of three replicas loses PostgreSQL, or Jenkins and S3, while it reaches everything else; later it is back."""

from pathlib import Path

import pytest

from tests.support.counted_builds import CountedBuilds, answer_to_post
from tests.support.product import Product
from tests.support.separate_replicas import owner_of, separate_replicas, until_owner_is_not, until_raised

pytestmark = [pytest.mark.timeout(180), pytest.mark.long]

LOST = ("a", "b", "c", "d")
OTHERS = ("x", "y")


async def running_builds(product: Product) -> CountedBuilds:
    """Builds of the first replica, which the test will cut off, and of another one."""
    builds = CountedBuilds(product)
    for app_id in LOST:
        await builds.submit(app_id, at=0, part_seconds=1)
    for app_id in OTHERS:
        await builds.submit(app_id, at=1)
    await builds.until_running()
    return builds


@pytest.mark.parametrize("how", ["silent", "refused"])
async def test_replica_without_postgresql_sends_nothing_and_loses_its_apps(how: str, tmp_path: Path):
    """Its agents, receivers and Jenkins can still be reached."""
    async with separate_replicas(tmp_path) as (product, links):
        builds = await running_builds(product)
        cut, database = product.replicas[0], links[0].database
        assert [await owner_of(product, app_id) for app_id in LOST] == [cut] * len(LOST)
        if how == "silent":
            database.fall_silent()
        else:
            await database.refuse()
        seconds = await until_owner_is_not(product, cut, [*LOST])
        print(f"all apps had another owner after {seconds:.1f} s")
        status, has_pause, took_seconds = await answer_to_post(product.at(0))
        assert (status, has_pause) == (503, True)
        assert took_seconds < 4, "3 s, and a margin for a busy machine"
        await builds.until_whole()
        calls = builds.calls()
        if how == "silent":
            database.stop_faults()
        else:
            await database.listen()
        await until_raised(product, cut)
        assert builds.calls() == calls
        await product.balancer.until_in(product.ports[0])
        await builds.submit("again", at=0)
        await builds.until_whole()
        assert await owner_of(product, "again") is cut
        builds.assert_no_bug_was_logged()


async def test_replica_without_jenkins_and_s3_releases_its_apps(tmp_path: Path):
    async with separate_replicas(tmp_path, SHUTTLE_RELEASE_SECONDS="2") as (product, links):
        builds = await running_builds(product)
        cut = product.replicas[0]
        links[0].jenkins.fall_silent()
        await links[0].objects.refuse()
        seconds = await until_owner_is_not(product, cut, [*LOST])
        print(f"all apps had another owner after {seconds:.1f} s")
        async with product.session.get(f"{product.at(0).url}/readyz") as response:
            answer = await response.json()
        assert (response.status, answer["status"]) == (200, "degraded")
        await builds.submit("meanwhile", at=1)
        await builds.until_whole()
        links[0].jenkins.stop_faults()
        await links[0].objects.listen()
        await cut.until_logged("this replica takes apps again", 60)
        await builds.submit("again", at=0)
        await builds.until_whole()
        assert await owner_of(product, "again") is cut
        builds.assert_no_bug_was_logged()
