"""Limits of sizes and of the queue, failures to record, and the order of checks (docs/contract.md, "Answers")."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shuttle.errors import ObjectStoreError, StoreError
from tests.support.inprocess import Shuttle, running_shuttle, script_request

LIMIT_BYTES = 4096
CONTROLLER = {"Authorization": "Bearer controller-token"}
SCRIPT = script_request()


@pytest.fixture
async def small(tmp_path) -> AsyncIterator[Shuttle]:
    """Accepts bodies of 4 KiB and two waiting builds. Jenkins is down and the only slot taken, so every build waits."""
    settings = {
        "SHUTTLE_MAX_BODY_BYTES": str(LIMIT_BYTES),
        "SHUTTLE_QUEUE_LIMIT": "2",
        "SHUTTLE_TOKENS": "controller:controller-token",
        "MAXIMUM_PARALLEL_BUILDS": "1",
    }
    async with running_shuttle(tmp_path, **settings) as shuttle:
        shuttle.headers = CONTROLLER
        await shuttle.submit("/busy/1")
        await shuttle.until_shown("/busy/1", lambda build: "Jenkins" in str(build["waiting_for"]))
        yield shuttle


async def raw(shuttle: Shuttle, head: str, *pieces: bytes) -> tuple[str, bytes]:
    """Send a request by hand while the server reads; returns the status line and the body of the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", shuttle.port)
    writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass  # it has responded already
    status = (await reader.readline()).decode()
    headers = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in headers.splitlines() if line.lower().startswith(b"content-length")
    )
    body = await reader.readexactly(length)
    writer.close()
    return status.strip(), body


async def test_declared_length_above_the_limit_gets_413_before_the_body(small: Shuttle):
    head = f"POST /a/1 HTTP/1.1\nHost: x\nAuthorization: Bearer controller-token\nContent-Length: {10**12}"
    status, body = await raw(small, head)
    assert status.startswith("HTTP/1.1 413")
    assert json.loads(body)["code"] == "body_too_large"


async def test_chunked_body_above_the_limit_gets_413(small: Shuttle):
    """The response comes although the body never ends."""
    head = "POST /a/1 HTTP/1.1\nHost: x\nAuthorization: Bearer controller-token\nTransfer-Encoding: chunked"
    status, body = await raw(small, head, *[b"400\r\n" + b" " * 1024 + b"\r\n"] * 5)
    assert status.startswith("HTTP/1.1 413")
    assert json.loads(body)["code"] == "body_too_large"


async def test_body_as_large_as_the_limit_is_accepted(small: Shuttle):
    body = json.dumps(SCRIPT).encode()
    padded = body + b" " * (LIMIT_BYTES - len(body))
    assert (await small.post("/a/1", padded)).status == 200
    assert (await small.post("/a/1", padded + b" ")).status == 413


async def test_decompressed_size_of_a_body_counts(small: Shuttle):
    bomb = zlib.compress(b" " * 50_000_000)
    answer = await small.post("/a/1", bomb, headers={"Content-Encoding": "deflate"})
    assert answer.status == 413


async def test_checks_are_made_in_a_fixed_order(small: Shuttle):
    """401, 413, 415, 400, 409 or 200, 429: each takes precedence over the following ones."""
    too_large = b"x" * (LIMIT_BYTES + 1)
    text = {"Content-Type": "text/plain"}
    good = json.dumps(SCRIPT).encode()

    async def status(body: bytes, path: str = "/full/1", **headers: str) -> int:
        return (await small.post(path, body, headers=headers)).status

    assert await status(too_large, "/%FF/1", Authorization="Bearer wrong", **text) == 401
    assert await status(too_large, "/%FF/1", **text) == 413
    assert await status(b"not json", "/%FF/1", **text) == 415
    assert await status(b"not json", "/%FF/1") == 400
    await small.post("/full/1", SCRIPT)
    await small.post("/full/2", SCRIPT)
    assert await status(b'{"source": 1}') == 400
    assert await status(good) == 200
    assert await status(good.replace(b"script", b"script ")) == 400
    assert await status(json.dumps(script_request("false")).encode()) == 409
    assert await status(json.dumps(script_request("false")).encode(), "/full/3") == 429


async def test_full_queue_gets_429_except_for_repeats(small: Shuttle):
    for number in (1, 2):
        assert (await small.post(f"/q/{number}", SCRIPT)).status == 200
    refused = await small.post("/q/3", SCRIPT)
    assert (refused.status, refused.json["code"]) == (429, "queue_full")
    assert int(refused.headers["Retry-After"]) > 0
    assert (await small.post("/q/1", SCRIPT)).headers["Shuttle-Replayed"] == "true"
    assert (await small.get("/q/3")).status == 404
    # Nothing of the refused request's source is stored.
    kept = {path.name[:36] for path in (small.data / "objects").iterdir() if path.name.endswith("type")}
    assert len(kept) == 3, "sources of the build with the slot and of the two waiting ones"
    assert (await small.delete("/q/2")).status == 200
    assert (await small.post("/q/3", SCRIPT)).status == 200


async def test_503_while_the_database_cannot_record(small: Shuttle, monkeypatch: pytest.MonkeyPatch):
    async def broken(*_: object, **__: object) -> None:
        raise StoreError("The database cannot be used now (disk full); check the disk.")

    with monkeypatch.context() as trouble:
        trouble.setattr(small.services.intake, "record", broken)
        answer = await small.post("/a/1", SCRIPT)
        assert (answer.status, answer.json["code"]) == (503, "cannot_record")
        assert int(answer.headers["Retry-After"]) > 0
        assert "disk full" in answer.json["message"]
    assert (await small.get("/a/1")).status == 404
    assert (await small.post("/a/1", SCRIPT)).status == 200


async def test_source_is_kept_if_it_is_unknown_whether_its_build_was_recorded(
    small: Shuttle, monkeypatch: pytest.MonkeyPatch
):
    """The commit succeeded but its response was lost: the build is recorded and needs its source."""
    record = small.services.intake.record

    async def recorded_without_an_answer(*given: Any, **named: Any) -> None:
        await record(*given, **named)
        raise StoreError("The database cannot be used now (disk I/O error); check the disk.")

    with monkeypatch.context() as trouble:
        trouble.setattr(small.services.intake, "record", recorded_without_an_answer)
        assert (await small.post("/lost-answer/1", SCRIPT)).status == 503
    assert (await small.post("/lost-answer/1", SCRIPT)).headers["Shuttle-Replayed"] == "true"
    build_uuid = (await small.build("/lost-answer/1"))["build_uuid"]
    assert (await small.get(f"/{build_uuid}")).status == 200
    assert (await small.delete("/lost-answer/1")).status == 200


async def test_503_while_the_object_store_cannot_store_the_source(small: Shuttle, monkeypatch: pytest.MonkeyPatch):
    async def broken(*_: object, **__: object) -> None:
        raise ObjectStoreError("The object store is full.")

    with monkeypatch.context() as trouble:
        trouble.setattr(small.services.objects, "put", broken)
        answer = await small.post("/a/1", SCRIPT)
        assert (answer.status, answer.json["code"]) == (503, "cannot_record")
    assert (await small.post("/a/1", SCRIPT)).status == 200


async def test_truncated_request_records_nothing(small: Shuttle):
    body = json.dumps(SCRIPT).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", small.port)
    head = (
        f"POST /cut/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer controller-token\r\nContent-Length: {len(body) + 1}"
    )
    writer.write(head.encode() + b"\r\n\r\n" + body)
    writer.write_eof()
    await reader.read()
    writer.close()
    assert (await small.get("/cut/1")).status == 404


async def test_garbage_instead_of_http_gets_400_and_affects_no_other(small: Shuttle):
    for garbage in (
        b"\x00\xff\x00\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /a/1 HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", small.port)
        writer.write(garbage)
        answer = await reader.read()
        assert answer.split(b" ")[1] == b"400"
        assert b"Traceback" not in answer
        writer.close()
    assert (await small.get("/healthz")).status == 200
