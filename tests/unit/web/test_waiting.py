"""The site that answers while the start waits for its database, and the moment at which the service takes over."""

import asyncio
import gc
import socket

import pytest

from shuttle.web.waiting import WaitingSite


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
