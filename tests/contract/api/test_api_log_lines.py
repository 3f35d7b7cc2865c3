"""Log lines about callers that disconnect or send invalid HTTP: one line, without a traceback."""

import asyncio
import json
import logging
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog
import structlog.testing

from shuttle.web.server_log import redirect_server_log
from tests.support.inprocess import Shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")

Lines = list[MutableMapping[str, Any]]


@pytest.fixture
def written() -> Iterator[Lines]:
    """The log lines of the service since the start of the test."""
    redirect_server_log()
    with structlog.testing.capture_logs() as lines:
        yield lines
    logging.getLogger("aiohttp.server").handlers = []
    logging.getLogger("aiohttp.server").propagate = True


async def until_written(written: Lines, event: str) -> MutableMapping[str, Any]:
    async with asyncio.timeout(20):
        while not (found := [line for line in written if event in line["event"]]):
            await asyncio.sleep(0.02)
    assert not any("exc_info" in line for line in written)
    return found[0]


async def follow(shuttle: Shuttle, path: str) -> asyncio.StreamWriter:
    """A reader of a log that has received its first line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", shuttle.port)
    writer.write(f"GET {path}/logs?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await reader.readuntil(b"begun\n")
    return writer


@pytest.mark.slow
async def test_reader_that_disconnects_from_a_growing_log_is_logged_in_one_line(
    shuttle: Shuttle, app: str, tmp_path: Path, written: Lines
):
    go = tmp_path / "go"
    await shuttle.submit(f"/{app}/1", f"echo begun; until [ -e {go} ]; do sleep 0.1; done; seq 100000")
    leaving = await follow(shuttle, f"/{app}/1")
    leaving.transport.abort()
    go.touch()
    line = await until_written(written, "client disconnected")
    assert line["log_level"] == "info"
    await shuttle.until(f"/{app}/1")


@pytest.mark.slow
async def test_reader_that_disconnects_from_a_silent_log_is_released(
    shuttle: Shuttle, app: str, tmp_path: Path, written: Lines, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shuttle.web.logs._DISCONNECT_CHECK_SECONDS", 0.01)
    go = tmp_path / "go"
    await shuttle.submit(f"/{app}/1", f"echo begun; until [ -e {go} ]; do sleep 0.1; done")
    staying = await follow(shuttle, f"/{app}/1")
    leaving = await follow(shuttle, f"/{app}/1")
    leaving.transport.abort()
    await until_written(written, "client disconnected")
    # Still followed by the other reader.
    assert not staying.transport.is_closing()
    go.touch()
    await shuttle.until(f"/{app}/1")
    staying.close()


@pytest.mark.parametrize("sent", [b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"s3cr3t" * 9000])
async def test_invalid_http_gets_400_and_a_log_line_that_does_not_quote_it(
    shuttle: Shuttle, sent: bytes, written: Lines
):
    reader, writer = await asyncio.open_connection("127.0.0.1", shuttle.port)
    writer.write(sent)
    assert b" 400 " in await reader.readline()
    writer.close()
    line = await until_written(written, "malformed HTTP request")
    assert "s3cr3t" not in json.dumps(line)
