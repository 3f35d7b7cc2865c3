"""The site that answers while the start waits for its database, and the moment at which the service takes over."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from shuttle.web.packerd import PREFIX
from shuttle.web.waiting import WaitingSite

WHY = "PostgreSQL does not answer."


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    writer.close()


# asyncio takes some steps from the arrival of a connection to its first request; the site may end between any of them.
@pytest.mark.parametrize("steps", range(8))
async def test_a_request_that_arrives_when_the_site_ends_is_answered_by_it_or_by_the_service(steps: int) -> None:
    loop = asyncio.get_running_loop()
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as client,
    ):
        client.setblocking(False)
        site = WaitingSite(listening)
        await site.start()
        await loop.sock_sendall(client, b"GET /readyz HTTP/1.1\r\nHost: shuttle\r\n\r\n")
        gc.disable()  # it would close a connection that was dropped, some time later
        try:
            for _ in range(steps):
                await asyncio.sleep(0)
            await site.close()
            async with await asyncio.start_server(_serve, sock=listening.dup()), asyncio.timeout(5):
                assert await loop.sock_recv(client, 12) in {b"HTTP/1.1 200", b"HTTP/1.1 503"}
        finally:
            gc.enable()


@asynccontextmanager
async def waiting_site(root: str) -> AsyncIterator[str]:
    """The URL of a site that waits."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        site = WaitingSite(listening, root=root)
        site.say(WHY)
        await site.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        await site.close()


@pytest.mark.parametrize(
    ("root", "path", "body"),
    [
        ("", "/shop/1", {"status": "error", "code": "store_unavailable", "message": WHY}),
        ("", "/-/state/builds", {"detail": WHY}),
        ("", f"{PREFIX}/build/queue", {"code": 503, "message": WHY}),
        (PREFIX, "/build/queue", {"code": 503, "message": WHY}),
        (PREFIX, "/readyz", {"code": 503, "message": WHY}),
    ],
)
async def test_each_api_says_in_its_own_form_what_the_start_waits_for(root: str, path: str, body: Any) -> None:
    async with waiting_site(root) as url, aiohttp.ClientSession() as session, session.get(url + path) as answer:
        assert (answer.status, await answer.json(), answer.headers["Retry-After"]) == (503, body, "5")


@pytest.mark.parametrize(("root", "path"), [("", f"{PREFIX}/health"), (PREFIX, "/health")])
async def test_health_of_packer_over_rest_is_answered_while_the_start_waits(root: str, path: str) -> None:
    async with waiting_site(root) as url, aiohttp.ClientSession() as session, session.get(url + path) as answer:
        shown = await answer.json()
        assert (answer.status, shown["status"], shown["diskpercentfull"]) == (200, "err", 100)
