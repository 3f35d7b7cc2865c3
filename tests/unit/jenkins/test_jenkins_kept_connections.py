"""A Jenkins, or its proxy, that closes kept connections at any time: no command is lost in one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from shuttle.jenkins.client import JenkinsClient


@pytest.fixture
async def client() -> AsyncIterator[JenkinsClient]:
    """A client of a Jenkins that closes the connection at any command but the first request of a connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served = 0
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, path, _ = head.split(" ", 2)
                await reader.readexactly(int(head.lower().partition("content-length: ")[2].partition("\r\n")[0] or 0))
                if method == "POST" and served:
                    break
                served += 1
                status, body = (200, b'{"items": []}') if path.startswith(("/queue", "/api")) else (404, b"no")
                status = (201 if "/build" in path else 200) if method == "POST" else status
                lines = b"X-Jenkins: 2\r\nLocation: /queue/item/7/\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
                writer.write(b"HTTP/1.1 %d X\r\n%b" % (status, lines))
                await writer.drain()
                if "connection: close" in head.lower():
                    break
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        client = JenkinsClient(f"http://ci:t0ken-secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        yield client
        await client.close()


async def test_a_trigger_after_a_query_uses_a_new_connection(client: JenkinsClient) -> None:
    assert not await client.waiting()
    assert await client.trigger("app", {"BUILD_UUID": "u1"}) == 7
    assert await client.trigger("app", {"BUILD_UUID": "u2"}) == 7


async def test_each_change_of_a_job_uses_a_new_connection(client: JenkinsClient) -> None:
    for app in ("one", "two"):
        await client.apply_job(app, b"<flow-definition/>", "sha256:" + "0" * 64)
