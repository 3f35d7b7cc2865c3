"""Errors of packer over REST with their whole bodies and headers, below `/-/packerd` and on a listener of its own.

Each is `{"code": number, "message": sentence}`; those after which a client repeats the call have Retry-After.
"""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from shuttle.web import READINESS
from shuttle.web.packerd import PREFIX
from tests.support.described import assert_packerd_described
from tests.support.inprocess import Shuttle, running_shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")

ID = "00000000-0000-4000-8000-000000000000"
BODY = json.dumps({"giturl": "http://127.0.0.1:9/x.git"}).encode()
LIMIT_BYTES = 4096
TOO_LARGE = f"Send at most {LIMIT_BYTES} bytes (SHUTTLE_MAX_BODY_BYTES)."
AT = " at line 1 column"
WRONG_METHOD = "This address does not take that method; see the Allow header."
LISTENER = {"SHUTTLE_PACKERD_BIND": "127.0.0.1:0"}
# Of any answer.
_USUAL = {"content-length", "date", "server"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shuttle(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    """Accepts bodies of 4 KiB."""
    folder, limit = tmp_path_factory.mktemp("errors"), str(LIMIT_BYTES)
    async with running_shuttle(folder, **LISTENER, SHUTTLE_MAX_BODY_BYTES=limit) as shuttle:
        yield shuttle


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def full(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    """Its queue is full."""
    async with running_shuttle(tmp_path_factory.mktemp("full"), **LISTENER, SHUTTLE_QUEUE_LIMIT="1") as shuttle:
        assert (await shuttle.post(f"{PREFIX}/build", BODY)).status == 202
        yield shuttle


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broken(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    """Its database is gone."""
    async with running_shuttle(tmp_path_factory.mktemp("broken"), **LISTENER) as shuttle:
        await shuttle.services.database.close()
        yield shuttle


@pytest.fixture(params=["prefix", "listener"])
def place(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


async def ask(shuttle: Shuttle, place: str, method: str, path: str, **sent: Any) -> tuple[int, Mapping[str, str], Any]:
    """The status, the headers that not every answer has, and the JSON of an answer, which is as described."""
    base = f"{shuttle.url}{PREFIX}" if place == "prefix" else f"http://127.0.0.1:{shuttle.packerd_port}"
    sent["headers"] = {"Content-Type": "application/json", **sent.get("headers", {})}
    async with shuttle.session.request(method, base + path, **sent) as answer:
        body = await answer.read()
    assert_packerd_described(method, path, answer.status, answer.headers, body)
    headers = {name.lower(): value for name, value in answer.headers.items() if name.lower() not in _USUAL}
    assert headers.pop("content-type") == "application/json; charset=utf-8"
    return answer.status, headers, json.loads(body)


async def _in_pieces(piece: bytes, times: int) -> AsyncIterator[bytes]:
    for _ in range(times):
        yield piece


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "headers", "message"),
    [
        (
            "POST",
            "/build",
            {"data": b'{"giturl": "http://h/x.git",}'},
            400,
            {},
            f"The body is not JSON: a trailing comma{AT} 29.",
        ),
        ("POST", "/build", {"data": b""}, 400, {}, "The body is empty; send a JSON object."),
        ("POST", "/build", {"data": b'{"giturl": "\xff"}'}, 400, {}, f"The body is not UTF-8{AT} 13."),
        ("POST", "/build", {"data": b" " * (LIMIT_BYTES + 1)}, 413, {}, TOO_LARGE),
        ("POST", "/build", {"data": lambda: _in_pieces(b" " * 1024, 5)}, 413, {}, TOO_LARGE),
        (
            "POST",
            "/build",
            {"data": zlib.compress(b" " * 10**6), "headers": {"Content-Encoding": "deflate"}},
            413,
            {},
            TOO_LARGE,
        ),
        ("GET", "/nothing", {}, 404, {}, "There is nothing at this address."),
        ("POST", "/build/responses", {"data": BODY}, 404, {}, "There is nothing at this address."),
        ("PUT", "/build", {"data": BODY}, 405, {"allow": "POST"}, WRONG_METHOD),
        ("DELETE", f"/build/responses/{ID}/0", {}, 405, {"allow": "GET,HEAD"}, WRONG_METHOD),
        ("PATCH", f"/build/queue/{ID}", {}, 405, {"allow": "DELETE,GET,HEAD,POST"}, WRONG_METHOD),
    ],
)
async def test_refused_call_has_its_number_and_a_sentence(
    shuttle: Shuttle,
    place: str,
    method: str,
    path: str,
    sent: dict[str, Any],
    status: int,
    headers: dict[str, str],
    message: str,
):
    given = {name: value() if callable(value) else value for name, value in sent.items()}
    found = await ask(shuttle, place, method, path, **given)
    assert found == (status, headers, {"code": status, "message": message})


async def test_full_queue(full: Shuttle, place: str):
    found = await ask(full, place, "POST", "/build", data=BODY)
    message = "1 builds are waiting already; try again later."
    assert found == (429, {"retry-after": "30"}, {"code": 429, "message": message})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/build"),
        ("GET", "/build/queue"),
        ("GET", f"/build/queue/{ID}"),
        ("POST", f"/build/queue/{ID}"),
        ("DELETE", f"/build/queue/{ID}"),
        ("GET", f"/build/responses/{ID}"),
        ("GET", f"/build/responses/{ID}/0"),
        ("GET", f"/build/responses/{ID}/0/stages"),
        ("GET", f"/build/responses/{ID}/0/stages/RunPacker"),
        ("GET", f"/build/responses/{ID}/0/stages/RunPacker?follow=true"),
    ],
)
async def test_call_without_a_database_may_be_repeated(broken: Shuttle, place: str, method: str, path: str):
    sent = {"data": BODY} if path == "/build" else {}
    status, headers, body = await ask(broken, place, method, path, **sent)
    why = "The database is closed because the shuttle is shutting down."
    message = f"The build was not recorded: {why}" if path == "/build" else why
    assert (status, headers, body) == (503, {"retry-after": "5"}, {"code": 503, "message": message})


async def test_process_that_is_being_stopped_closes_connections_after_their_answers(tmp_path: Path, place: str):
    async with running_shuttle(tmp_path, **LISTENER) as shuttle:
        shuttle.site[READINESS].drain()
        found = await ask(shuttle, place, "GET", f"/build/queue/{ID}")
    assert found == (400, {"connection": "close"}, {"code": 4, "message": "non-existiant build request"})


async def test_connection_above_the_limit(tmp_path: Path):
    async with running_shuttle(tmp_path, **LISTENER, SHUTTLE_MAX_CONNECTIONS_PER_PEER="1") as shuttle:
        address = ("127.0.0.1", shuttle.packerd_port)
        waiting, first = await asyncio.open_connection(*address)
        first.write(b"POST /build HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        assert b" 100 " in await waiting.readline()
        reader, second = await asyncio.open_connection(*address)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        first.close()
        second.close()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert {b"Retry-After: 5", b"Content-Type: application/json; charset=utf-8"} <= set(head.split(b"\r\n"))
    message = "Too many connections are open; close some, or try again later."
    assert json.loads(body) == {"code": 503, "message": message}
