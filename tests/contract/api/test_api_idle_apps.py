"""The Jenkins jobs of idle apps: they are deleted on request, and the next build makes them again."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
import pytest_asyncio

from shuttle.build import job_name_of
from tests.support.inprocess import Jenkins, Shuttle, running_shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")

READER, CONTROLLER = "reader-token-0000001", "controller-token-0001"
IDLE, PRUNE = "/-/apps/idle?pipeline=script&idle_seconds=0", "/-/apps/prune?pipeline=script&idle_seconds=0"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shuttle(tmp_path_factory: pytest.TempPathFactory, jenkins: Jenkins) -> AsyncIterator[Shuttle]:
    tokens = {"SHUTTLE_TOKENS": f"reader:{READER},controller:{CONTROLLER}"}
    async with running_shuttle(tmp_path_factory.mktemp("idle-apps"), jenkins.url, **tokens) as running:
        running.headers = {"Authorization": f"Bearer {CONTROLLER}"}
        yield running


async def built(shuttle: Shuttle, app: str, build: str) -> None:
    await shuttle.submit(f"/{app}/{build}")
    ended = await shuttle.until(f"/{app}/{build}")
    assert ended["state"] == "succeeded"
    await shuttle.until_settled(ended["build_uuid"])


async def idle(shuttle: Shuttle) -> list[str]:
    answer = await shuttle.get(IDLE, headers={"Authorization": f"Bearer {READER}"})
    assert answer.status == 200
    return [app["app_id"] for app in answer.json["apps"]]


@pytest.mark.slow
async def test_job_of_an_idle_app_is_deleted_and_made_again_by_the_next_build(
    shuttle: Shuttle, jenkins: Jenkins, app: str
):
    job = f"/job/{quote(job_name_of(app))}/api/json"
    await built(shuttle, app, "1")
    assert (await idle(shuttle), await jenkins.call("GET", job)) == ([app], 200)
    answer = await shuttle.post(PRUNE, b"")
    assert (answer.status, [one["app_id"] for one in answer.json["apps"]]) == (200, [app])
    async with asyncio.timeout(20):
        while await jenkins.call("GET", job) != 404:
            pass
    assert await idle(shuttle) == []
    assert (await shuttle.build(f"/{app}/1"))["state"] == "succeeded"
    await built(shuttle, app, "2")
    assert (await idle(shuttle), await jenkins.call("GET", job)) == ([app], 200)


async def test_reader_may_list_but_not_delete(shuttle: Shuttle):
    answer = await shuttle.post(PRUNE, b"", headers={"Authorization": f"Bearer {READER}"})
    assert answer.status == 403


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("idle_seconds=1", "pipeline"),
        ("pipeline=other&idle_seconds=1", "pipeline"),
        ("pipeline=script", "idle_seconds"),
        ("pipeline=script&idle_seconds=30d", "idle_seconds"),
        ("pipeline=script&idle_seconds=-1", "idle_seconds"),
    ],
)
async def test_query_without_a_pipeline_or_a_time_is_refused(shuttle: Shuttle, query: str, field: str):
    for answer in (await shuttle.get(f"/-/apps/idle?{query}"), await shuttle.post(f"/-/apps/prune?{query}", b"")):
        assert (answer.status, answer.json["field"]) == (400, field)
