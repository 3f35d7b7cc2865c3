"""Jenkins behind proxies with malformed HTTP: queries and commands get their answers, or at least their statuses."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from shuttle.jenkins.client import JenkinsClient
from shuttle.outgoing.response_heads import MAX_HEADERS

Write = Callable[[int, bytes], bytes]

MALFORMED_HEADS: dict[str, Write] = {
    "a length beside chunks": lambda status, body: (
        b"HTTP/1.1 %d X\r\nX-Jenkins: 2\r\nLocation: /queue/item/7/\r\n"
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (status, len(body), body)
    ),
    "chunks that end in line feeds": lambda status, body: (
        b"HTTP/1.1 %d X\r\nX-Jenkins: 2\r\nLocation: /queue/item/7/\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n%b0\n\n" % (status, b"".join(b"1 ;x\n%c\n" % byte for byte in body))
    ),
    "the length twice": lambda status, body: (
        b"HTTP/1.1 %d X\r\nX-Jenkins: 2\r\nLocation: /queue/item/7/\r\n"
        b"Content-Length: %d\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), len(body), body)
    ),
    "the length in a list": lambda status, body: (
        b"HTTP/1.1 %d X\r\nX-Jenkins: 2\r\nLocation: /queue/item/7/\r\n"
        b"Content-Length: %d, %d\r\n\r\n%b" % (status, len(body), len(body), body)
    ),
    "a space before the colon": lambda status, body: (
        b"HTTP/1.1 %d X\r\nX-Jenkins : 2\r\nLocation : /queue/item/7/\r\n"
        b"Content-Length : %d\r\n\r\n%b" % (status, len(body), body)
    ),
    "many headers": lambda status, body: (
        b"HTTP/1.1 %d X\r\nX-Jenkins: 2\r\nLocation: /queue/item/7/\r\n%b"
        b"Content-Length: %d\r\n\r\n%b" % (status, b"X: y\r\n" * (MAX_HEADERS - 4), len(body), body)
    ),
    "a long reason": lambda status, body: (
        b"HTTP/1.1 %d %b\r\nX-Jenkins: 2\r\nLocation: /queue/item/7/\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (status, b"r" * 60_000, len(body), body)
    ),
    "a long header": lambda status, body: (
        b"HTTP/1.1 %d X\r\nX-Jenkins: 2\r\nLocation: /queue/item/7/\r\n"
        b"Content-Security-Policy: %b\r\nContent-Length: %d\r\n\r\n%b" % (status, b"x" * 60_000, len(body), body)
    ),
}
malformed = pytest.mark.parametrize("write", MALFORMED_HEADS.values(), ids=MALFORMED_HEADS.keys())

BROKEN: dict[str, bytes] = {
    "different lengths": b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "a body cut off": b"Content-Length: 20\r\n\r\nok",
    "a chunk that is none": b"Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n",
    "204 with a body": b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}


@asynccontextmanager
async def answering(answer: Callable[[str, str], bytes]) -> AsyncIterator[tuple[JenkinsClient, list[str]]]:
    """A client of a server that answers with `answer(method, path)` and closes; and the list of requests."""
    requests: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path, _ = head.split(" ", 2)
            length = head.lower().partition("content-length: ")[2].partition("\r\n")[0]
            await reader.readexactly(int(length or 0))
            requests.append(f"{method} {path}")
            first_line, _, rest = answer(method, path).partition(b"\r\n")
            writer.write(b"%b\r\nConnection: close\r\n%b" % (first_line, rest))
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**20) as server:
        port = server.sockets[0].getsockname()[1]
        client = JenkinsClient(f"http://ci:t0ken-secret@127.0.0.1:{port}/", request_timeout_seconds=10)
        try:
            yield client, requests
        finally:
            await client.close()


@malformed
async def test_a_malformed_answer_to_a_query_is_read(write: Write) -> None:
    async with answering(lambda *_: write(200, b'{"items": []}')) as (client, _):
        assert not await client.waiting()


@malformed
async def test_the_queue_item_in_a_malformed_answer_to_a_trigger_is_read(write: Write) -> None:
    async with answering(lambda *_: write(201, b"")) as (client, requests):
        assert await client.trigger("app", {"BUILD_UUID": "u1"}) == 7
    assert len(requests) == 1


@malformed
async def test_a_job_is_created_once_although_the_answer_is_malformed(write: Write) -> None:
    def answer(method: str, path: str) -> bytes:
        if method == "POST":
            return write(200, b"")
        return write(200, b'{"quietingDown": false}') if path.startswith("/api/json") else write(404, b"no")

    async with answering(answer) as (client, requests):
        await client.apply_job("app", b"<flow-definition/>", "sha256:" + "0" * 64)
    assert requests.count("POST /createItem?name=app") == 1


@pytest.mark.parametrize("framing", BROKEN.values(), ids=BROKEN.keys())
async def test_a_command_succeeds_by_its_status_although_the_body_is_broken(framing: bytes) -> None:
    head = b"HTTP/1.1 201 Created\r\nLocation: /queue/item/7/\r\n"
    async with answering(lambda *_: head + framing) as (client, _):
        assert await client.trigger("app", {"BUILD_UUID": "u1"}) == 7


@pytest.mark.parametrize("framing", BROKEN.values(), ids=BROKEN.keys())
async def test_a_job_is_created_although_the_body_is_broken(framing: bytes) -> None:
    def answer(method: str, path: str) -> bytes:
        if method == "POST":
            return b"HTTP/1.1 200 OK\r\n" + framing
        status, body = (200, b'{"quietingDown": false}') if path.startswith("/api/json") else (404, b"no")
        return b"HTTP/1.1 %d X\r\nX-Jenkins: 2\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)

    async with answering(answer) as (client, _):
        await client.apply_job("app", b"<flow-definition/>", "sha256:" + "0" * 64)
