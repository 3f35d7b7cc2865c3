"""Limits of connections: their number, the times until a head is complete and between requests, the size of a head."""

import asyncio
import base64
import io
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from shuttle.objects.names import legacy_log_object
from shuttle.web.connection import MAX_HEAD_BYTES, MAX_HEADERS, MAX_LINE_BYTES, Connection
from tests.contract.agent_caller import agent_of
from tests.support.archives import MIB, entry, tar_gz
from tests.support.inprocess import Shuttle, running_shuttle, script_request

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
JSON = {"Content-Type": "application/json"}
OLD_APP = "shop-11111111-1111-4111-8111-111111111111"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def quick(tmp_path: Path) -> AsyncIterator[Shuttle]:
    """A shuttle that waits 0.3 s for a head and 0.8 s for the next request."""
    times = {"SHUTTLE_HEAD_TIMEOUT_SECONDS": "0.3", "SHUTTLE_IDLE_TIMEOUT_SECONDS": "0.8"}
    async with running_shuttle(tmp_path, **times) as shuttle:
        yield shuttle


@asynccontextmanager
async def connected(shuttle: Shuttle, sent: bytes = b"") -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", shuttle.port)
    writer.write(sent)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], Any]:
    """The status, headers and JSON of a response."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), headers, json.loads(await reader.readexactly(int(headers["content-length"])))


async def ended_after(reader: asyncio.StreamReader) -> float:
    """The seconds until the service closes the connection; received bytes are dropped."""
    began_at = asyncio.get_running_loop().time()
    async with asyncio.timeout(10):
        while await reader.read(65_536):
            pass
    return asyncio.get_running_loop().time() - began_at


async def test_connection_without_a_request_is_closed(quick: Shuttle):
    async with connected(quick) as (reader, _):
        assert 0.2 < await ended_after(reader) < 0.7


@pytest.mark.parametrize("drop_seconds", [1, 0.05])
async def test_incomplete_head_gets_408_even_if_bytes_trickle_in(quick: Shuttle, drop_seconds: float):
    async with connected(quick, b"GET / HTTP/1.1\r\nX-Half: ") as (reader, writer):
        answering = asyncio.create_task(answer_of(reader))
        while not answering.done():
            await asyncio.wait([answering], timeout=drop_seconds)
            writer.write(b"x")
        status, headers, body = answering.result()
        assert (status, body["code"], headers["connection"]) == (408, "head_timeout", "close")
        assert "GET" not in body["message"]


async def stays_open_for(reader: asyncio.StreamReader, *, seconds: float) -> bool:
    """Whether the service neither closes the connection nor sends anything during this time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await reader.read(1)
            return False
    return True


async def test_connection_is_kept_alive_until_the_idle_timeout(quick: Shuttle):
    async with connected(quick, HEALTH) as (reader, writer):
        assert (await answer_of(reader))[0] == 200
        assert await stays_open_for(reader, seconds=0.5)  # longer than a head may take
        writer.write(HEALTH[:20])
        assert await stays_open_for(reader, seconds=0.1)
        writer.write(HEALTH[20:])
        assert (await answer_of(reader))[0] == 200
        assert 0.6 < await ended_after(reader) < 1.5


async def test_head_that_begins_just_before_the_idle_timeout_may_still_be_completed(tmp_path: Path):
    times = {"SHUTTLE_HEAD_TIMEOUT_SECONDS": "2", "SHUTTLE_IDLE_TIMEOUT_SECONDS": "0.3"}
    async with running_shuttle(tmp_path, **times) as shuttle, connected(shuttle, HEALTH) as (reader, writer):
        assert (await answer_of(reader))[0] == 200
        writer.write(HEALTH[:20])
        assert await stays_open_for(reader, seconds=0.5)
        writer.write(HEALTH[20:])
        assert (await answer_of(reader))[0] == 200


async def test_head_that_stays_incomplete_beyond_the_idle_timeout_gets_408(tmp_path: Path):
    times = {"SHUTTLE_HEAD_TIMEOUT_SECONDS": "0.5", "SHUTTLE_IDLE_TIMEOUT_SECONDS": "0.2"}
    async with running_shuttle(tmp_path, **times) as shuttle, connected(shuttle, HEALTH[:20]) as (reader, _):
        status, _, body = await answer_of(reader)
        assert (status, body["code"]) == (408, "head_timeout")


@pytest.mark.slow
async def test_followed_log_is_not_an_idle_connection(quick: Shuttle):
    await quick.submit("/followed/1")
    async with connected(quick, b"GET /followed/1/logs?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n") as (reader, _):
        assert b"200" in await reader.readline()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ended_after(reader), 1.5)


@pytest.mark.parametrize(("size_bytes", "status"), [(MAX_HEAD_BYTES, 200), (MAX_HEAD_BYTES + 1, 431)])
@pytest.mark.parametrize("at_once", [True, False])
async def test_size_of_a_head_is_limited(quick: Shuttle, size_bytes: int, status: int, at_once: bool):
    fillers = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 7000) for number in range(9))
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + fillers + b"X-Last: \r\n\r\n"
    head = head.replace(b"X-Last: ", b"X-Last: " + b"x" * (size_bytes - len(head)))
    async with connected(quick) as (reader, writer):
        if not at_once:
            writer.write(head[:-1])
            await asyncio.sleep(0.05)
        writer.write(head if at_once else head[-1:])
        found, _, body = await answer_of(reader)
        assert found == status
        assert status == 200 or body["code"] == "head_too_large"


@pytest.mark.parametrize(
    ("taken", "refused"),
    [
        (b"X: " + b"x" * MAX_LINE_BYTES, b"X: " + b"x" * (MAX_LINE_BYTES + 1)),
        (b"N" * (MAX_LINE_BYTES - len("Host")) + b": x", b"N" * (MAX_LINE_BYTES - len("Host") + 1) + b": x"),
        (b"\r\n".join([b"X: y"] * (MAX_HEADERS - 1)), b"\r\n".join([b"X: y"] * MAX_HEADERS)),
    ],
    ids=["value", "names", "number"],
)
async def test_size_and_number_of_headers_are_limited(quick: Shuttle, taken: bytes, refused: bytes):
    for headers, status in ((taken, 200), (refused, 400)):
        async with connected(quick, HEALTH[:-2] + headers + b"\r\n\r\n") as (reader, _):
            found, _, body = await answer_of(reader)
            assert found == status
            named = f"at most {MAX_HEADERS} headers, each of at most {MAX_LINE_BYTES} bytes"
            assert status == 200 or named in body["message"]


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"Authorization: Bearer the-token\r\n\r\n", 400, "malformed_http"),
        (b"GET / HTTP/1.1\r\nAuthorization Bearer the-token\r\n\r\n", 400, "malformed_http"),
        (b"GET /the-token HTTP/9.9\r\n\r\n", 400, "malformed_http"),
        (b"\x16\x03\x01\x02\x00\x01", 400, "malformed_http"),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: the-token\r\n\r\n", 400, "malformed_http"),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "malformed_http",
        ),
        (b"GET / HTTP/1.1\r\nX: the-token" + b"x" * 8200 + b"\r\n\r\n", 400, "malformed_http"),
        (b"GET /the-token" + b"x" * 8200 + b" HTTP/1.1\r\n\r\n", 400, "malformed_http"),
        (b"GET / HTTP/1.1\r\n" + b"X: the-token\r\n" * 200 + b"\r\n", 400, "malformed_http"),
    ],
)
async def test_error_for_malformed_http_is_json_without_quotes_of_the_request(
    quick: Shuttle, sent: bytes, status: int, code: str
):
    async with connected(quick, sent) as (reader, _):
        found, headers, body = await answer_of(reader)
        assert (found, body["code"]) == (status, code)
        assert headers["content-type"] == "application/json; charset=utf-8"
        assert "the-token" not in json.dumps(body)


ODD_PATHS = (
    *("//", "//x", "//x/y", "/x://y", "/x://y/z", "/:///", "/:///x", "/x:/y", "/x:///y", "/ab://c/d/e", "/http://a/b"),
    *(
        "/a://b/logs",
        "/-/x://y",
        "//-/builds",
        "/-//builds",
        "http://a",
        "http://a/",
        "http://a//x/y",
        "http://a/x:///y",
    ),
    *(
        "http:///x",
        "http://[",
        "//[/x",
        "ftp://a/b",
        "*",
        "x",
        "/%",
        "/%zz/%",
        "/%ff/%fe",
        "/a/%2f",
        "/../..",
        "/a/b#c",
    ),
    *("/a b", "/\\", "/a;b/c,d", "/\xe9/\xff", "/-/builds/x/artifacts//", "/a/b/artifacts/..", "/octhc://"),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW")


@pytest.mark.parametrize("method", METHODS)
async def test_odd_paths_never_cause_a_500(quick: Shuttle, method: str):
    for path in ODD_PATHS:
        headers = "Host: localhost\r\nAuthorization: Bearer the-token\r\nConnection: close\r\n"
        sent = f"{method} {path} HTTP/1.1\r\n{headers}\r\n"
        async with connected(quick, sent.encode("latin-1")) as (reader, _):
            whole = await reader.read()
        head, _, body = whole.partition(b"\r\n\r\n")
        assert 200 <= int(head.split()[1]) < 500, path
        assert b"the-token" not in whole, path
        if int(head.split()[1]) >= 400 and method != "HEAD":
            assert json.loads(body)["status"], path


async def test_too_many_pipelined_requests_end_the_connection(quick: Shuttle):
    await quick.submit("/ahead/1")
    async with connected(quick, b"GET /ahead/1/logs?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n") as (reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(MAX_HEAD_BYTES // 4096 + 2):
            writer.write(HEALTH[:-2] + b"X-Filler: " + b"x" * 4096 + b"\r\n\r\n")
        with suppress(ConnectionError):
            assert await ended_after(reader) < 5


@asynccontextmanager
async def with_few_connections(folder: Path, most: int, most_of_a_peer: int) -> AsyncIterator[Shuttle]:
    numbers = {"SHUTTLE_MAX_CONNECTIONS": str(most), "SHUTTLE_MAX_CONNECTIONS_PER_PEER": str(most_of_a_peer)}
    async with running_shuttle(folder, **numbers) as shuttle:
        yield shuttle


async def health(shuttle: Shuttle) -> tuple[int, dict[str, str], Any]:
    async with connected(shuttle, HEALTH) as (reader, _):
        return await answer_of(reader)


FOLLOW = b"GET /many/1/logs?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(("most", "most_of_a_peer"), [(3, 100), (100, 3)])
async def test_connection_beyond_the_limit_is_refused_until_one_ends(tmp_path, most: int, most_of_a_peer: int):
    async with with_few_connections(tmp_path, most, most_of_a_peer) as shuttle, AsyncExitStack() as stack:
        await shuttle.submit("/many/1")
        await shuttle.session.close()
        open_ones = [await stack.enter_async_context(connected(shuttle, FOLLOW)) for _ in range(2)]
        for reader, _ in open_ones:
            assert b"200" in await reader.readline()
        assert (await health(shuttle))[0] == 200
        third = await stack.enter_async_context(connected(shuttle, FOLLOW))
        assert b"200" in await third[0].readline()
        status, headers, body = await health(shuttle)
        assert (status, body["code"], headers["retry-after"]) == (503, "too_many_connections", "5")
        open_ones[0][1].transport.abort()
        async with asyncio.timeout(5):
            while (await health(shuttle))[0] != 200:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(("most", "most_of_a_peer"), [(3, 100), (100, 3)])
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nX-Half: ", HEALTH])
async def test_connections_without_a_request_are_closed_for_new_ones(
    tmp_path, most: int, most_of_a_peer: int, sent: bytes
):
    async with with_few_connections(tmp_path, most, most_of_a_peer) as shuttle, AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(connected(shuttle, sent)) for _ in range(10)]
        for _ in range(3):
            assert (await health(shuttle))[0] == 200
        await ended_after(idle[0][0])


@pytest.fixture
def dropped(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """An event that is set when the service ends a connection."""
    dropped, drop = asyncio.Event(), Connection.drop

    def drop_and_report(connection: Connection) -> None:
        drop(connection)
        dropped.set()

    monkeypatch.setattr(Connection, "drop", drop_and_report)
    return dropped


async def test_reader_that_reads_nothing_is_disconnected(tmp_path: Path, dropped: asyncio.Event):
    async with running_shuttle(tmp_path, SHUTTLE_READER_STALL_SECONDS="0.3") as shuttle:
        log = tmp_path / "log"
        log.write_bytes(b"a line of the log\n" * 1_000_000)
        await shuttle.services.objects.put(legacy_log_object(OLD_APP, "1"), log, content_type="text/plain")
        async with connected(shuttle, f"GET /{OLD_APP}/1/logs HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()) as (
            reader,
            writer,
        ):
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
            async with asyncio.timeout(10):
                await dropped.wait()
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(18_000_000)


def open_files(folder: Path) -> list[str]:
    """The files in the folder that this process has open."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the file descriptor of this iteration
            found.append(str(descriptor.readlink()))
    return [path for path in found if path.startswith(str(folder))]


@pytest.mark.slow
async def test_agent_that_does_not_read_its_source_is_disconnected_and_the_file_closed(
    tmp_path: Path, dropped: asyncio.Event
):
    """The source is larger than the kernel's buffers."""
    archive = tar_gz(entry("build.sh", b"true"), entry("large", os.urandom(16 * MIB)))
    source = {"url": "data:application/gzip;base64," + base64.b64encode(archive).decode()}
    async with running_shuttle(tmp_path, SHUTTLE_READER_STALL_SECONDS="0.3") as shuttle:
        request = io.BytesIO(json.dumps(script_request(source=source)).encode())
        assert (await shuttle.ask("POST", "/stalled/1", data=request, headers=JSON)).status == 200
        agent = await agent_of(shuttle, "/stalled/1")
        assert (await agent.files("source.tar.gz"))["build.sh"] == b"true"
        head = f"GET /-/builds/{agent.uuid}/source.tar.gz HTTP/1.1\r\nHost: localhost\r\n"
        sent = f"{head}Authorization: Bearer {agent.setup_token}\r\n\r\n".encode()
        async with connected(shuttle, sent) as (reader, writer):
            assert b"200" in await reader.readline()
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
            assert open_files(shuttle.data / "sources")
            async with asyncio.timeout(20):
                await dropped.wait()
                while open_files(shuttle.data / "sources"):
                    await asyncio.sleep(0.01)
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(len(archive))
