"""`GET /:app_id/:build_id/logs`: offset, follow, Range, HEAD (docs/contract.md, "Reading the log")."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from shuttle.objects.names import log_object
from tests.support.answer import Answer
from tests.support.inprocess import Shuttle
from tests.support.receivers import Receiver, hanging

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def done(shuttle: Shuttle) -> tuple[str, bytes]:
    """The path of a finished build, and its log."""
    await shuttle.submit("/logs/done", "echo 'grüße'; i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done")
    await shuttle.until("/logs/done")
    return "/logs/done", await shuttle.whole_log("/logs/done")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(shuttle: Shuttle, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[str, Path]]:
    """The path of a running build whose script prints `begun` and continues once the file exists."""
    file = tmp_path_factory.mktemp("running") / "go"
    await shuttle.submit("/logs-running/1", f"echo begun\nwhile [ ! -e {file} ]; do sleep 0.1; done\necho after")
    async with shuttle.session.get(f"{shuttle.url}/logs-running/1/logs?follow=true") as response:
        async for line in response.content:
            if line == b"begun\n":
                break
    yield "/logs-running/1", file


async def logs(shuttle: Shuttle, path: str, query: str = "", method: str = "GET", **headers: str) -> Answer:
    return await shuttle.ask(method, f"{path}/logs{query}", headers=headers)


async def test_complete_log_is_returned(shuttle: Shuttle, done: tuple[str, bytes]):
    path, log = done
    answer = await logs(shuttle, path)
    assert (answer.status, answer.body) == (200, log)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Shuttle-Log-Offset"] == "0"
    assert answer.headers["Shuttle-Log-Complete"] == "true"
    assert answer.headers["Content-Length"] == str(len(log))
    assert "grüße\n" in answer.body.decode()


@pytest.mark.parametrize("offset", [0, 1, 17, 1000, -1, None])
async def test_log_is_returned_from_an_offset(shuttle: Shuttle, done: tuple[str, bytes], offset: int | None):
    path, log = done
    start = len(log) if offset is None else offset % len(log)
    for query in (f"?offset={start}", f"?offset={start}&follow=true"):
        answer = await logs(shuttle, path, query)
        assert (answer.status, answer.body) == (200, log[start:])
        assert answer.headers["Shuttle-Log-Offset"] == str(start)
        assert answer.headers["Content-Length"] == str(len(log) - start)


async def test_offset_beyond_a_complete_log_gets_416(shuttle: Shuttle, done: tuple[str, bytes]):
    path, log = done
    answer = await logs(shuttle, path, f"?offset={len(log) + 1}")
    assert (answer.status, answer.json["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(log)}"
    for digits in (18, 30, 5000):
        assert (await logs(shuttle, path, f"?offset={'9' * digits}")).status == 416


@pytest.mark.parametrize("offset", ["-1", "x", "", "1.5", "0x1", "%D9%A3", "1e3", "+1", "%2B1"])
async def test_offset_that_is_not_a_number_gets_400(shuttle: Shuttle, done: tuple[str, bytes], offset: str):
    answer = await logs(shuttle, done[0], f"?offset={offset}")
    assert (answer.status, answer.json["field"]) == (400, "offset")


@pytest.mark.parametrize(
    ("header", "first", "end"),
    [
        ("bytes=0-", 0, None),
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=5-99999999", 5, None),
        ("bytes=5-" + "9" * 5000, 5, None),
        ("bytes=-" + "9" * 30, 0, None),
        ("bytes=-7", -7, None),
        ("bytes=-99999999", 0, None),
        ("Bytes=3-4", 3, 5),
    ],
)
async def test_range_of_a_log_is_returned(
    shuttle: Shuttle, done: tuple[str, bytes], header: str, first: int, end: int | None
):
    path, log = done
    answer = await logs(shuttle, path, Range=header)
    first, end = first % len(log), len(log) if end is None else end
    assert (answer.status, answer.body) == (206, log[first:end])
    assert answer.headers["Content-Range"] == f"bytes {first}-{end - 1}/{len(log)}"
    assert answer.headers["Content-Length"] == str(end - first)
    assert answer.headers["Shuttle-Log-Offset"] == str(first)


@pytest.mark.parametrize(
    "header", ["bytes=1-2,4-5", "lines=1-2", "bytes=9-3", "bytes=x-", "bytes=-", "bytes=" + "9" * 30]
)
async def test_unsupported_ranges_get_the_whole_log(shuttle: Shuttle, done: tuple[str, bytes], header: str):
    path, log = done
    answer = await logs(shuttle, path, Range=header)
    assert (answer.status, answer.body) == (200, log)


@pytest.mark.parametrize("header", ["bytes={size}-", "bytes=999999999-", "bytes=" + "9" * 30 + "-", "bytes=-0"])
async def test_range_beyond_the_end_gets_416(shuttle: Shuttle, done: tuple[str, bytes], header: str):
    path, log = done
    answer = await logs(shuttle, path, Range=header.format(size=len(log)))
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(log)}"


async def test_head_returns_the_length_of_a_complete_log(shuttle: Shuttle, done: tuple[str, bytes]):
    path, log = done
    answer = await logs(shuttle, path, method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(log))
    assert answer.headers["Shuttle-Log-Complete"] == "true"


async def test_growing_log_is_returned_up_to_its_current_end(shuttle: Shuttle, running: tuple[str, Path]):
    path, _ = running
    now = await logs(shuttle, path)
    assert (now.status, now.headers["Shuttle-Log-Complete"]) == (200, "false")
    assert now.body.endswith(b"begun\n")
    size = len(now.body)
    for offset in (size, size + 1, size + 10**9):
        answer = await logs(shuttle, path, f"?offset={offset}")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Shuttle-Log-Offset"] == str(size)
    ranged = await logs(shuttle, path, Range="bytes=0-3")
    assert (ranged.status, ranged.body) == (200, now.body)
    head = await logs(shuttle, path, method="HEAD")
    assert head.status == 200
    assert "Content-Length" not in head.headers


async def test_following_from_an_offset_returns_the_rest_until_the_end(shuttle: Shuttle, running: tuple[str, Path]):
    path, file = running
    size = len((await logs(shuttle, path)).body)
    offsets = (0, 5, size, size + 10**6)
    followers = [asyncio.create_task(logs(shuttle, path, f"?offset={offset}&follow=true")) for offset in offsets]
    plain = asyncio.create_task(logs(shuttle, path, "?follow=1"))
    done, _ = await asyncio.wait([*followers, plain], timeout=0.05)
    assert not done
    file.touch()
    answers = await asyncio.gather(*followers)
    whole = await shuttle.whole_log(path)
    assert whole[size:].startswith(b"after\n")
    for offset, answer in zip(offsets, answers, strict=True):
        start = min(offset, size)
        assert (answer.status, answer.body) == (200, whole[start:])
        assert answer.headers["Shuttle-Log-Offset"] == str(start)
        assert answer.headers["Shuttle-Log-Complete"] == "false"
    assert (await plain).body == whole


async def test_log_before_the_trigger_is_the_preamble(idle: Shuttle, app: str):
    await idle.submit(f"/{app}/1")
    await idle.until_shown(f"/{app}/1", lambda build: build["timestamps"]["staged_at"])
    answer = await logs(idle, f"/{app}/1")
    assert answer.status == 200
    assert answer.headers["Shuttle-Log-Complete"] == "false"
    assert answer.body.startswith(b"-----> Source: ")


async def test_log_without_bytes_is_200_and_empty(idle: Shuttle, app: str):
    async with Receiver(hanging) as host:
        await idle.post(f"/{app}/1", {"source": {"url": f"{host.url}/a"}, "pipeline": "script"})
        answer = await logs(idle, f"/{app}/1")
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["Shuttle-Log-Complete"] == "false"
        await idle.delete(f"/{app}/1")


async def test_log_of_an_unknown_build_gets_404(idle: Shuttle, app: str):
    for method in ("GET", "HEAD"):
        assert (await logs(idle, f"/{app}/1", method=method)).status == 404


async def test_unreachable_archive_is_reported_as_an_error(shuttle: Shuttle, app: str):
    """The log is not truncated silently: the response is an error before the first byte."""
    await shuttle.submit(f"/{app}/1")
    build = await shuttle.until(f"/{app}/1")
    await shuttle.until_settled(build["build_uuid"])
    await shuttle.services.objects.delete(log_object(build["build_uuid"]))
    answer = await logs(shuttle, f"/{app}/1")
    assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert "no longer kept" in answer.json["message"]
    for query in ("", "?offset=0", "?offset=5", "?offset=999999", "?follow=true"):
        for method in ("GET", "HEAD"):
            assert (await logs(shuttle, f"/{app}/1", query, method=method)).status == 404, (method, query)


@pytest.mark.slow
async def test_reader_that_stalls_or_disconnects_affects_no_other(shuttle: Shuttle, app: str):
    """One reader reads nothing of a log larger than all buffers; the build and other readers are not affected."""
    reader, writer = await asyncio.open_connection("127.0.0.1", shuttle.port, limit=1024)
    await shuttle.submit(
        f"/{app}/1", "yes 'some text of a line that is long enough to fill buffers' | head -c 20000000"
    )
    writer.write(f"GET /{app}/1/logs?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    leaving, leaver = await asyncio.open_connection("127.0.0.1", shuttle.port)
    leaver.write(f"GET /{app}/1/logs?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await leaving.readline()
    leaver.transport.abort()
    build = await shuttle.until(f"/{app}/1")
    assert build["state"] == "succeeded"
    log = await shuttle.whole_log(f"/{app}/1")
    assert len(log) == build["log"]["bytes"] > 20_000_000
    # When it reads at last, it gets the same bytes, from the spool that was removed meanwhile.
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"200 OK" in head
    got = bytearray()
    while size := int(await reader.readuntil(b"\r\n"), 16):
        got += (await reader.readexactly(size + 2))[:-2]
    assert bytes(got) == log
    writer.close()
