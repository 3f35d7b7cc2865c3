"""A source host that responds with Retry-After and then cuts the connection: the build waits, says why, and resumes."""

import pytest

from tests.support.inprocess import Shuttle
from tests.support.product import archive
from tests.support.receivers import Exchange, Receiver, answering

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOURCE = archive({"build.sh": "#!/bin/sh\necho it is here\n"})


async def cut_off(exchange: Exchange) -> None:
    """Send half of it."""
    await exchange.answer(200, {"Content-Length": str(len(SOURCE)), "ETag": '"v1"'}, SOURCE[: len(SOURCE) // 2])
    exchange.hang_up()


async def the_rest(exchange: Exchange) -> None:
    at = int(exchange.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    headers = {"Content-Range": f"bytes {at}-{len(SOURCE) - 1}/{len(SOURCE)}", "ETag": '"v1"'}
    await exchange.answer(206, headers, SOURCE[at:])


@pytest.mark.slow
async def test_source_with_retry_after_and_an_interruption_is_fetched(shuttle: Shuttle, app: str):
    limited = answering(403, {"Retry-After": "1"})
    async with Receiver(limited, answering(202, {"Retry-After": "0"}), cut_off, the_rest) as host:
        body = {"source": {"url": f"{host.url}/a.tar.gz"}, "pipeline": "script"}
        assert (await shuttle.post(f"/{app}/1", body)).status == 200
        await host.exchange(0)
        build = await shuttle.until(f"/{app}/1")
        assert (build["state"], build["reason"]) == ("succeeded", None)
        assert [exchange.headers.get("Range") for exchange in host.exchanges] == [
            *(None, None, None),
            f"bytes={len(SOURCE) // 2}-",
        ]
        assert host.exchanges[3].headers["If-Range"] == '"v1"'
    assert b"it is here" in await shuttle.whole_log(f"/{app}/1")


async def test_web_page_instead_of_a_source_fails_the_build(shuttle: Shuttle, app: str):
    async with Receiver(answering(200, {"Content-Type": "text/html"}, b"<!doctype html><p>Sign in")) as host:
        body = {"source": {"url": f"{host.url}/a.tar.gz"}, "pipeline": "script"}
        assert (await shuttle.post(f"/{app}/1", body)).status == 200
        build = await shuttle.until(f"/{app}/1")
        assert (build["state"], build["reason"]) == ("failed", "source_is_a_page")
        assert len(host.exchanges) == 1
