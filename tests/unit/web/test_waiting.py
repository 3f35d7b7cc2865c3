"""The site that answers while the start waits for its database, and the moment at which the service takes over."""

import asyncio
import gc
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from shuttle.web.callers import Callers
from shuttle.web.connection import TimeLimits
from shuttle.web.packerd import PREFIX
from shuttle.web.waiting import WaitingSite
from tests.support.certificates import loopback_tls

WHY = "PostgreSQL does not answer."
TIMES = TimeLimits(head=20, idle=75, reader=30)


def callers() -> Callers:
    return Callers(maximum=100, maximum_per_peer=2)


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
        site = WaitingSite(listening, callers(), TIMES)
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
async def waiting_site(
    root: str = "", times: TimeLimits = TIMES, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """The URL of a site that waits."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        site = WaitingSite(listening, callers(), times, root=root, tls=tls)
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


@pytest.mark.parametrize("with_tls", [False, True])
async def test_connection_that_sends_nothing_is_closed_while_the_start_waits(with_tls: bool, tmp_path: Path) -> None:
    tls = loopback_tls(tmp_path)[0] if with_tls else None
    async with waiting_site(times=TimeLimits(head=0.05, idle=0.05, reader=1), tls=tls) as url, asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", URL(url).port)
        assert await reader.read() == b""
        writer.close()


async def test_idle_connections_make_room_for_new_ones_while_the_start_waits() -> None:
    async with waiting_site() as url, asyncio.timeout(5), aiohttp.ClientSession() as session:
        idle = [await asyncio.open_connection("127.0.0.1", URL(url).port) for _ in range(2)]
        async with session.get(f"{url}/healthz") as answer:
            assert answer.status == 200
        assert await idle[0][0].read() == b""
        for _, writer in idle:
            writer.close()


async def test_request_by_tls_is_answered_while_the_start_waits(tmp_path: Path) -> None:
    tls, certificate = loopback_tls(tmp_path)
    trusting = ssl.create_default_context(cafile=certificate)
    async with (
        waiting_site(PREFIX, tls=tls) as url,
        aiohttp.ClientSession() as session,
        session.get(f"{url.replace('http', 'https')}/health", ssl=trusting) as answer,
    ):
        assert answer.status == 200
