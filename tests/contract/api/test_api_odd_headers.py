"""Bytes that are not text, in any header of a request to any route, get a documented error and never a 500."""

import asyncio
import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from shuttle.web import Role
from shuttle.web.openapi import path_of
from shuttle.web.routes import ROUTES
from tests.contract.agent_caller import agent_of
from tests.support.inprocess import Shuttle, running_shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTROLLER = b"a-controllers-token"
VALUES = (b"\xff", b"\xc3\xa9", b"Bearer \xff", b"Bearer \xc3\xa9", b"Basic \xff", b"Basic \xc3\xa9==", b"Basic 4pi6")
HEADERS = (
    *(b"Content-Type", b"Content-Encoding", b"Accept", b"Range", b"Origin", b"Sec-Fetch-Site", b"Expect", b"Upgrade"),
    *(b"If-None-Match", b"If-Range", b"If-Modified-Since", b"Cookie", b"Connection", b"X-\xff"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    folder = tmp_path_factory.mktemp("odd-headers")
    async with running_shuttle(
        folder, SHUTTLE_TOKENS=f"controller:{CONTROLLER.decode()}", SHUTTLE_HOOK_SECRET="s3cret-of-the-git-server"
    ) as shuttle:
        shuttle.headers["Authorization"] = f"Bearer {CONTROLLER.decode()}"
        yield shuttle


async def answers(shuttle: Shuttle, method: str, path: str, *heads: bytes) -> list[tuple[int, bytes]]:
    """Status and body for each of these headers, sent with an empty JSON body one after the other."""
    found = []
    for head in heads:
        reader, writer = await asyncio.open_connection("127.0.0.1", shuttle.port)
        start = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n".encode()
        writer.write(start + head + b"\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
        answer = await reader.read()
        writer.close()
        found.append((int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[2]))
    return found


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {path_of(route)}")
async def test_credentials_that_are_not_text_get_401(guarded: Shuttle, route):
    path = re.sub(r"{\w+}", "x", path_of(route))
    got = await answers(guarded, route.method, path, *(b"Authorization: " + value for value in VALUES))
    assert {status for status, _ in got} <= ({200, 401, 404, 422, 503} if route.role is Role.ANYBODY else {401}), got


@pytest.mark.slow
async def test_header_that_is_not_text_does_not_get_500(guarded: Shuttle):
    await guarded.submit("/odd/1")
    agent = await agent_of(guarded, "/odd/1")
    await agent.handed_to_jenkins()
    await agent.begun()
    controllers, runs = b"Authorization: Bearer " + CONTROLLER, f"Authorization: Bearer {agent.run_token}".encode()
    calls = [
        ("POST", "/", controllers),
        ("POST", "/odd/2", controllers),
        ("GET", "/odd/1", controllers),
        ("GET", "/odd/1/logs", controllers),
        ("GET", f"/{agent.uuid}", controllers),
        ("DELETE", "/odd/9", controllers),
        ("POST", f"/-/builds/{agent.uuid}/log?stream=main&offset=0", runs),
        ("POST", f"/-/builds/{agent.uuid}/report", runs),
        ("PUT", f"/-/builds/{agent.uuid}/artifacts/x", runs),
    ]
    for method, path, token in calls:
        heads = [token + b"\r\n" + name + b": " + value for name in HEADERS for value in (b"\xff", b"x\xc3\xa9;=\xff")]
        for status, body in await answers(guarded, method, path, *heads):
            assert status < 500, (method, path, body)
            assert status < 400 or "status" in json.loads(body)
