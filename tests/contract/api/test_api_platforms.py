"""A build for several platforms: one branch of the pipeline and one record for each of them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.inprocess import Jenkins, Shuttle, running_shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")

BUILDS = "/-/state/builds"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shuttle(tmp_path_factory: pytest.TempPathFactory, jenkins: Jenkins) -> AsyncIterator[Shuttle]:
    async with running_shuttle(tmp_path_factory.mktemp("platforms"), jenkins.url) as running:
        yield running


async def record(shuttle: Shuttle, uuid: str) -> dict[str, Any]:
    found: dict[str, Any] = (await shuttle.get(f"{BUILDS}/{uuid}")).json
    return found


def ends(build: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    return {child["platform"]: (child["state"], child["reason"]) for child in build["children"]}


async def test_one_of_two_platforms_fails(shuttle: Shuttle, app: str):
    path = f"/{app}/1"
    script = 'echo "$PLATFORM in $REGION, $COMMON"\n[ "$PLATFORM" = aws ] || exit 3\nmkdir dist && echo a > dist/image'
    platforms = [{"name": "aws", "arguments": {"REGION": "us"}}, {"name": "Azure", "arguments": {"REGION": "eu"}}]
    await shuttle.submit(path, script, platforms=platforms, arguments={"COMMON": 1, "REGION": "none"})
    build = await shuttle.until(path)
    assert (build["state"], build["reason"]) == ("failed", "platform_failed")
    assert build["message"] == "The build failed for: Azure."
    log = (await shuttle.whole_log(path)).decode()
    assert "[aws] aws in us, 1\n" in log
    assert "[Azure] Azure in eu, 1\n" in log
    assert log.endswith("-----> The build failed for: Azure.\n")
    assert ends(build) == {"aws": ("succeeded", None), "Azure": ("failed", "build_failed")}
    assert [child["build_id"] for child in build["children"]] == ["1-aws", "1-Azure"]
    parent = await record(shuttle, build["build_uuid"])
    assert (parent["status"], [child["status"] for child in parent["children"]]) == ("failed", ["completed", "failed"])
    aws, azure = [await record(shuttle, child["build_uuid"]) for child in build["children"]]
    assert (aws["current_state"], aws["labels"], aws["parent_id"]) == (100, {"platform": "aws"}, build["build_uuid"])
    stages = [(state["stage"], state["state"], state["status"]) for state in aws["states"]]
    assert stages == [
        (name, code, "succeeded") for name, code in (("claim", 5), ("fetch", 10), ("build", 20), ("artifacts", 95))
    ]
    assert [(row["state"], row["failure_type"], row["error_message"]) for row in azure["failures"]] == [
        (20, "build_failed", "build.sh ended with exit status 3.")
    ]
    status = (await shuttle.get(f"/{app}/1-Azure/status")).json
    assert (status["status"], status["reason"]) == ("failed", "build_failed")
    assert (await shuttle.get(f"/{app}/1-aws/artifacts/image")).body == b"a\n"
