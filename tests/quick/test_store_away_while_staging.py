"""The object store is away while a source is staged: the build waits and says so, and nothing is fetched twice."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.inprocess import Shuttle, running_shuttle
from tests.product import archive, data_url

GOOD = archive({"build.sh": "true"})
# Long enough to fetch in, on a busy machine too; a build that counted our own trouble as its source's would end then.
STAGE_SECONDS = 2.0
HASTY = {"SHUTTLE_STAGE_TIMEOUT_SECONDS": str(STAGE_SECONDS)}


class Host:
    """A server of sources: `/whole` and, never ending, `/stalls`."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if request.path == "/stalls":
            await asyncio.Event().wait()
        return web.Response(body=GOOD)


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    made = Host()
    app = web.Application()
    app.router.add_get("/{what}", made.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.05, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def submit(shuttle: Shuttle, path: str, source_url: str) -> None:
    answer = await shuttle.post(path, {"source": {"url": source_url}, "pipeline": "script"})
    assert answer.status == 200, answer.body


async def until_it_still_waits_for_its_store(shuttle: Shuttle, path: str) -> None:
    """Longer than its source had time to come."""
    clock = asyncio.get_running_loop().time
    overdue_at = clock() + STAGE_SECONDS + 0.5
    await shuttle.until_shown(
        path, lambda build: clock() > overdue_at and "the storage of the source" in (build["waiting_for"] or "")
    )


async def test_a_fetched_source_is_kept_later(tmp_path: Path, host: Host):
    async with running_shuttle(tmp_path, **HASTY) as shuttle:
        objects = shuttle.data / "objects"
        objects.write_text("not a directory")
        await submit(shuttle, "/fetched/1", f"{host.url}/whole")
        await until_it_still_waits_for_its_store(shuttle, "/fetched/1")
        objects.unlink()
        build = await shuttle.until_shown("/fetched/1", lambda build: build["timestamps"]["staged_at"] is not None)
        assert host.asked == ["/whole"]
        assert (await shuttle.get(f"/{build['build_uuid']}")).body == GOOD


async def test_a_source_that_came_with_the_request_is_taken_later(tmp_path: Path, host: Host):
    async with running_shuttle(tmp_path, SHUTTLE_STAGE_TIMEOUT_SECONDS="60") as shuttle:
        await submit(shuttle, "/sent/1", f"{host.url}/stalls")
        await submit(shuttle, "/sent/2", data_url({"build.sh": "true"}))  # after the first, which is of the same app
        build_uuid = (await shuttle.build("/sent/2"))["build_uuid"]
        stored = shuttle.data / "objects" / build_uuid
    away = stored.rename(stored.with_name("away"))
    stored.mkdir()
    async with running_shuttle(tmp_path, **HASTY) as shuttle:
        assert (await shuttle.delete("/sent/1")).status == 200
        await until_it_still_waits_for_its_store(shuttle, "/sent/2")
        stored.rmdir()
        away.rename(stored)
        await shuttle.until_shown("/sent/2", lambda build: build["timestamps"]["staged_at"] is not None)


async def test_a_stored_source_that_somebody_deleted(tmp_path: Path, host: Host):
    async with running_shuttle(tmp_path, SHUTTLE_STAGE_TIMEOUT_SECONDS="60") as shuttle:
        await submit(shuttle, "/gone/1", f"{host.url}/stalls")
        await submit(shuttle, "/gone/2", data_url({"build.sh": "true"}))
        build_uuid = (await shuttle.build("/gone/2"))["build_uuid"]
        (shuttle.data / "objects" / build_uuid).unlink()
        assert (await shuttle.delete("/gone/1")).status == 200
        ended = await shuttle.until("/gone/2")
        assert (ended["state"], ended["reason"]) == ("failed", "source_lost")
