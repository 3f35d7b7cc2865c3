"""Orphaned sources: a POST stored its source and recorded no build. Only such objects are removed a day later."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from shuttle.lifecycle.retain import Retention
from tests.support.clock import SetClock
from tests.support.faulty_proxy import FaultyProxy, faulty_proxy
from tests.support.inprocess import Shuttle, running_shuttle, script_request
from tests.support.s3_server import bucket_of, s3_server, settings_for

pytestmark = pytest.mark.slow

UUID = "0a7f4f0e-0000-4000-8000-0123456789ab"


@dataclass
class Scene:
    """A shuttle that reaches its S3 server through a proxy with faults."""

    shuttle: Shuttle
    proxy: FaultyProxy
    bucket: str
    client: Any

    async def objects(self) -> list[str]:
        listed = await asyncio.to_thread(self.client.list_objects_v2, Bucket=self.bucket)
        return [entry["Key"] for entry in listed.get("Contents", ())]

    async def swept_after(self, hours: float) -> list[str]:
        """The objects that are left after a retention sweep that many hours later."""
        services = self.shuttle.services
        later = SetClock(services.clock.now())
        later.forward(hours * 3600)
        await Retention(replace(services, clock=later)).sweep()
        return await self.objects()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    with s3_server() as endpoint, bucket_of(endpoint) as (bucket, client):
        async with (
            faulty_proxy(endpoint) as proxy,
            running_shuttle(tmp_path, **settings_for(proxy.url, bucket)) as shuttle,
        ):
            yield Scene(shuttle, proxy, bucket, client)


async def test_a_stored_source_whose_put_was_not_answered_is_removed_a_day_later(scene: Scene):
    scene.proxy.fault = lambda request: "lose" if request.method == "PUT" else None
    answer = await scene.shuttle.post("/app/1", script_request())
    assert (answer.status, answer.json["code"]) == (503, "cannot_record")
    scene.proxy.stop_faults()
    [orphan] = await scene.objects()
    assert await scene.swept_after(23) == [orphan]
    assert await scene.swept_after(25) == []


async def test_the_source_of_a_recorded_build_is_kept(scene: Scene):
    scene.proxy.fault = lambda request: 503 if request.method == "PUT" else None
    assert (await scene.shuttle.post(f"/app/{UUID}", script_request())).status == 503
    scene.proxy.stop_faults()
    assert (await scene.shuttle.post(f"/app/{UUID}", script_request())).status == 200
    assert await scene.swept_after(25) == [UUID]
    source = await scene.shuttle.get(f"/{UUID}")
    assert (source.status, len(source.body) > 0) == (200, True)


async def test_an_object_that_existed_before_the_post_is_kept(scene: Scene):
    await asyncio.to_thread(scene.client.put_object, Bucket=scene.bucket, Key=UUID, Body=b"of the old shuttle")
    scene.proxy.fault = lambda request: 503 if request.method == "PUT" else None
    assert (await scene.shuttle.post(f"/app/{UUID}", script_request())).status == 503
    scene.proxy.stop_faults()
    assert await scene.swept_after(25) == [UUID]
    assert (await scene.shuttle.get(f"/{UUID}")).body == b"of the old shuttle"
