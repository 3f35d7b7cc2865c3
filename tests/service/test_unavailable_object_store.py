"""The object store is unavailable during staging: the build waits and shows why, and nothing is fetched twice."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.support.inprocess import Shuttle, running_shuttle
from tests.support.product import archive, data_url

pytestmark = pytest.mark.slow

GOOD = archive({"build.sh": "true"})
# Long enough for a fetch, also on a busy machine. A build that treated the store's fault as one of its source would end
# after this time.
STAGE_SECONDS = 2.0
SHORT_TIMEOUT = {"SHUTTLE_STAGE_TIMEOUT_SECONDS": str(STAGE_SECONDS)}


class Host:
    """A server of sources: `/whole`, and `/stalls`, which never answers."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[str] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
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


async def still_waits_for_the_store(shuttle: Shuttle, path: str) -> None:
    """Return if the build still waits for the object store after the time limit for its source."""
    clock = asyncio.get_running_loop().time
    overdue_at = clock() + STAGE_SECONDS + 0.5
    await shuttle.until_shown(
        path, lambda build: clock() > overdue_at and "the storage of the source" in (build["waiting_for"] or "")
    )


async def test_a_fetched_source_is_stored_once_the_store_is_available_again(tmp_path: Path, host: Host):
    async with running_shuttle(tmp_path, **SHORT_TIMEOUT) as shuttle:
        objects = shuttle.data / "objects"
        objects.write_text("not a directory")
        await submit(shuttle, "/fetched/1", f"{host.url}/whole")
        await still_waits_for_the_store(shuttle, "/fetched/1")
        objects.unlink()
        build = await shuttle.until_shown("/fetched/1", lambda build: build["timestamps"]["staged_at"] is not None)
        assert host.requests == ["/whole"]
        assert (await shuttle.get(f"/{build['build_uuid']}")).body == GOOD


async def test_a_data_source_is_read_once_the_store_is_available_again(tmp_path: Path, host: Host):
    async with running_shuttle(tmp_path, SHUTTLE_STAGE_TIMEOUT_SECONDS="60") as shuttle:
        await submit(shuttle, "/sent/1", f"{host.url}/stalls")
        await submit(
            shuttle, "/sent/2", data_url({"build.sh": "true"})
        )  # waits for the first one, which is of the same app
        build_uuid = (await shuttle.build("/sent/2"))["build_uuid"]
        stored = shuttle.data / "objects" / build_uuid
    away = stored.rename(stored.with_name("away"))
    stored.mkdir()
    async with running_shuttle(tmp_path, **SHORT_TIMEOUT) as shuttle:
        assert (await shuttle.delete("/sent/1")).status == 200
        await still_waits_for_the_store(shuttle, "/sent/2")
        stored.rmdir()
        away.rename(stored)
        await shuttle.until_shown("/sent/2", lambda build: build["timestamps"]["staged_at"] is not None)


async def test_a_build_whose_stored_source_was_deleted_ends_source_lost(tmp_path: Path, host: Host):
    async with running_shuttle(tmp_path, SHUTTLE_STAGE_TIMEOUT_SECONDS="60") as shuttle:
        await submit(shuttle, "/gone/1", f"{host.url}/stalls")
        await submit(shuttle, "/gone/2", data_url({"build.sh": "true"}))
        build_uuid = (await shuttle.build("/gone/2"))["build_uuid"]
        (shuttle.data / "objects" / build_uuid).unlink()
        assert (await shuttle.delete("/gone/1")).status == 200
        ended = await shuttle.until("/gone/2")
        assert (ended["state"], ended["reason"]) == ("failed", "source_lost")
