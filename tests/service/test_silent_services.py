"""Jenkins or the object store accepts connections and never answers: shutdown and answers to callers are in time."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.support.inprocess import running_shuttle, script_request
from tests.support.product import TOKEN, USER, Process
from tests.support.shuttle_process import shuttle_process
from tests.support.tcp_proxy import TcpProxy, tcp_proxy

pytestmark = pytest.mark.slow

# Far below the timeouts of requests (30 s, three times for S3), also on a busy machine.
SHUTDOWN_SECONDS = 4


@pytest.fixture
async def silence() -> AsyncIterator[TcpProxy]:
    """A server that accepts every connection and sends nothing."""
    async with tcp_proxy(0, 0) as proxy:
        proxy.fall_silent()
        yield proxy


def bucket_at(url: str) -> dict[str, str]:
    return {"S3_BUCKET": "builds", "S3_LOCATION": url, "S3_ACCESS_KEY": "key", "S3_SECRET_KEY": "secret"}


@asynccontextmanager
async def started(folder: Path, **settings: str) -> AsyncIterator[tuple[str, Process]]:
    """URL and process of a running shuttle, which is killed afterwards."""
    url, shuttle = shuttle_process(folder, SHUTTLE_SHUTDOWN_SECONDS=str(SHUTDOWN_SECONDS), **settings)
    await shuttle.start()
    try:
        yield url, shuttle
    finally:
        await shuttle.kill()


async def ends_in_time(shuttle: Process) -> None:
    async with asyncio.timeout(20):
        assert await shuttle.kill(signal.SIGTERM) == 0, shuttle.output()


async def test_shutdown_with_a_silent_object_store_is_in_time(tmp_path: Path, silence: TcpProxy):
    async with started(tmp_path, **bucket_at(silence.url)) as (url, shuttle), aiohttp.ClientSession() as session:
        posting = asyncio.create_task(session.post(f"{url}/app/1", json=script_request()))
        await silence.until_accepted()
        await ends_in_time(shuttle)
        await asyncio.gather(posting, return_exceptions=True)


async def test_shutdown_with_a_silent_jenkins_is_in_time(tmp_path: Path, silence: TcpProxy):
    jenkins_url = silence.url.replace("://", f"://{USER}:{TOKEN}@")
    async with (
        started(tmp_path, JENKINS_URL=jenkins_url) as (url, shuttle),
        aiohttp.ClientSession() as session,
        session.post(f"{url}/app/1", json=script_request()) as response,
    ):
        assert response.status == 200
        await silence.until_accepted()
        await ends_in_time(shuttle)


async def test_a_post_with_a_silent_object_store_is_answered_503_in_time(
    tmp_path: Path, silence: TcpProxy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shuttle.lifecycle.uploads._PUT_TIMEOUT_SECONDS", 0.3)
    async with running_shuttle(tmp_path, **bucket_at(silence.url)) as shuttle, asyncio.timeout(20):
        answer = await shuttle.post("/app/1", script_request())
        assert (answer.status, answer.json["code"]) == (503, "cannot_record")
        assert int(answer.headers["Retry-After"]) > 0
        assert (await shuttle.get("/app/1")).status == 404
