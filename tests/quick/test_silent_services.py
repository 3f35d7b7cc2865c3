"""Jenkins or the object store accepts connections and never answers: shutdown and answers to callers are in time."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.inprocess import running_shuttle, script_request
from tests.support.product import TOKEN, USER, Product, running_product
from tests.support.tcp_proxy import TcpProxy, tcp_proxy

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


async def ends_in_time(product: Product) -> None:
    async with asyncio.timeout(20):
        assert await product.shuttle.kill(signal.SIGTERM) == 0, product.shuttle.output()


async def test_shutdown_with_a_silent_object_store_is_in_time(tmp_path: Path, silence: TcpProxy):
    settings: Any = {"SHUTTLE_SHUTDOWN_SECONDS": str(SHUTDOWN_SECONDS), **bucket_at(silence.url)}
    async with running_product(tmp_path, **settings) as product:
        posting = asyncio.create_task(product.session.post(f"{product.url}/app/1", json=script_request()))
        await silence.until_accepted()
        await ends_in_time(product)
        await asyncio.gather(posting, return_exceptions=True)


async def test_shutdown_with_a_silent_jenkins_is_in_time(tmp_path: Path, silence: TcpProxy):
    url = silence.url.replace("://", f"://{USER}:{TOKEN}@")
    settings: Any = {"SHUTTLE_SHUTDOWN_SECONDS": str(SHUTDOWN_SECONDS), "JENKINS_URL": url}
    async with running_product(tmp_path, **settings) as product:
        await product.submit("app", "1", "#!/bin/sh\n")
        await silence.until_accepted()
        await ends_in_time(product)


async def test_a_post_with_a_silent_object_store_is_answered_503_in_time(
    tmp_path: Path, silence: TcpProxy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shuttle.lifecycle.uploads._PUT_TIMEOUT_SECONDS", 0.3)
    async with running_shuttle(tmp_path, **bucket_at(silence.url)) as shuttle, asyncio.timeout(20):
        answer = await shuttle.post("/app/1", script_request())
        assert (answer.status, answer.json["code"]) == (503, "cannot_record")
        assert int(answer.headers["Retry-After"]) > 0
        assert (await shuttle.get("/app/1")).status == 404
