"""Requests of old and unusual clients of the older API, byte by byte."""

import asyncio
import hashlib
import json
import os
from base64 import b64encode
from collections.abc import Mapping

import pytest

from tests.contract.legacy.caller import OK, LegacyApp
from tests.support.answer import Answer

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def exchange(
    app: LegacyApp,
    line: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    after_100: bool = False,
) -> Answer:
    """Send a request on a new connection; returns the response up to its length or the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", app.shuttle.port)
    given = {"Host": f"127.0.0.1:{app.shuttle.port}", "Content-Length": str(len(body)), "Connection": "close"}
    given |= dict(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    writer.write(f"{line}\r\n{head}\r\n".encode())
    try:
        async with asyncio.timeout(30):
            if after_100:
                assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(body)
            await writer.drain()
            return await _answer(reader, with_body=not line.startswith("HEAD "))
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader, *, with_body: bool = True) -> Answer:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip("\r\n").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    length = headers.get("Content-Length") if with_body else "0"
    body = await reader.read() if length is None else await reader.readexactly(int(length))
    return Answer(int(first.split(" ")[1]), headers, body)


def written(app: LegacyApp, **fields: object) -> bytes:
    return json.dumps(app.request() | fields).encode()


JSON = {"Content-Type": "application/json"}


async def test_http_1_0_requests_are_supported(waiting: LegacyApp):
    answer = await exchange(waiting, "POST / HTTP/1.0", written(waiting), JSON)
    assert (answer.status, answer.body) == (200, OK)
    answer = await exchange(waiting, f"GET {waiting.path()}/status HTTP/1.0")
    assert (answer.status, json.loads(answer.body)["status"]) == (200, "pending")
    for headers in ({}, {"Accept": "application/json"}):
        answer = await exchange(waiting, f"GET {waiting.path()}/logs HTTP/1.0", headers=headers)
        assert answer.status == 200
        assert "Transfer-Encoding" not in answer.headers  # which HTTP/1.0 does not have
    answer = await exchange(waiting, f"DELETE {waiting.path()} HTTP/1.0")
    assert (answer.status, answer.body) == (200, OK)


async def test_http_1_0_request_without_host_is_accepted(waiting: LegacyApp):
    body = written(waiting)
    reader, writer = await asyncio.open_connection("127.0.0.1", waiting.shuttle.port)
    writer.write(b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    answer = await _answer(reader)
    writer.close()
    assert (answer.status, answer.body) == (200, OK)


async def test_expect_100_continue_is_supported(waiting: LegacyApp):
    headers = JSON | {"Expect": "100-continue"}
    answer = await exchange(waiting, "POST / HTTP/1.1", written(waiting), headers, after_100=True)
    assert (answer.status, answer.body) == (200, OK)


async def test_body_without_content_type_is_accepted(waiting: LegacyApp):
    answer = await exchange(waiting, "POST / HTTP/1.1", written(waiting))
    assert (answer.status, answer.body) == (200, OK)


@pytest.mark.parametrize("charset", ["latin1", "iso-8859-1", "utf-8", "UTF8", '"utf-8"', "no-such-charset"])
async def test_charset_of_json_is_ignored(waiting: LegacyApp, charset: str):
    headers = {"Content-Type": f"application/json; charset={charset}"}
    body = json.dumps(waiting.request(space="münchen"), ensure_ascii=False).encode()
    answer = await exchange(waiting, "POST / HTTP/1.1", body, headers)
    assert (answer.status, answer.body) == (200, OK)


async def test_latin1_body_is_read_or_refused_as_not_utf_8(waiting: LegacyApp):
    headers = {"Content-Type": "application/json; charset=latin1"}
    body = json.dumps(waiting.request(space="münchen"), ensure_ascii=False).encode("latin1")
    answer = await exchange(waiting, "POST / HTTP/1.1", body, headers)
    if answer.status != 200:
        assert (answer.status, answer.json["code"]) == (400, "invalid_json")
        assert "UTF-8" in answer.json["message"]


async def test_chunked_body_in_tiny_pieces_is_accepted(waiting: LegacyApp):
    body = written(waiting)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(body[at : at + 7]), body[at : at + 7]) for at in range(0, len(body), 7))
    reader, writer = await asyncio.open_connection("127.0.0.1", waiting.shuttle.port)
    writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
    answer = await _answer(reader)
    writer.close()
    assert (answer.status, answer.body) == (200, OK)


async def test_upper_case_uuids_are_accepted(waiting: LegacyApp):
    waiting.app_uuid = waiting.app_uuid.upper()
    body = waiting.request(7)
    lower = body["build_uuid"]
    body["build_uuid"] = lower.upper()
    assert (await exchange(waiting, "POST / HTTP/1.1", json.dumps(body).encode(), JSON)).body == OK
    for build_uuid in (lower, lower.upper()):
        assert (await exchange(waiting, f"GET /{build_uuid} HTTP/1.1")).status == 200
        assert (await exchange(waiting, f"HEAD /{build_uuid} HTTP/1.0")).status == 200
    await waiting.submit(8, sources=f"{waiting.shuttle.url}/{lower.upper()}")
    assert (await exchange(waiting, f"GET {waiting.path(7)}/status HTTP/1.1")).status == 200
    assert (await exchange(waiting, f"DELETE {waiting.path(7)} HTTP/1.1")).body == OK
    assert (await exchange(waiting, f"DELETE /{waiting.app_id} HTTP/1.1")).body == OK


@pytest.mark.parametrize("spelled", ["/{path}/", "//{path}", "//{path}/"])
async def test_trailing_and_repeated_slashes_are_ignored(waiting: LegacyApp, spelled: str):
    """A base URL may end in a slash, or a client may add one."""
    body = waiting.request(7)
    line = "POST " + spelled.format(path="").replace("///", "//") + " HTTP/1.1"
    assert (await exchange(waiting, line, json.dumps(body).encode(), JSON)).body == OK
    calls = [
        ("GET", body["build_uuid"]),
        ("GET", f"{waiting.app_id}/7/status"),
        ("GET", f"{waiting.app_id}/7/logs"),
        ("DELETE", f"{waiting.app_id}/7"),
        ("DELETE", waiting.app_id),
    ]
    for method, path in calls:
        answer = await exchange(waiting, f"{method} {spelled.format(path=path)} HTTP/1.1")
        assert answer.status == 200, (method, path)
    assert (await waiting.record(body["build_uuid"])).state == "stopped"


async def test_percent_encoded_ids_are_decoded(waiting: LegacyApp):
    body = waiting.request(7)
    assert (await waiting.post(body)).body == OK
    app_id = waiting.app_id.replace("-", "%2D").replace("s", "%73", 1)
    assert (await exchange(waiting, f"GET /{app_id}/%37/status HTTP/1.1")).status == 200
    assert (await exchange(waiting, f"GET /{app_id}/%37/logs HTTP/1.1")).status == 200
    assert (await exchange(waiting, f"GET /{body['build_uuid'].replace('-', '%2d')} HTTP/1.1")).status == 200
    assert (await exchange(waiting, f"DELETE /{app_id}/%37 HTTP/1.1")).body == OK
    assert (await waiting.record(body["build_uuid"])).state == "stopped"
    assert (await exchange(waiting, f"DELETE /{app_id} HTTP/1.1")).body == OK


@pytest.mark.slow
async def test_data_url_of_40_mib_is_accepted(waiting: LegacyApp):
    content = os.urandom(30 * 1024 * 1024)
    body = waiting.request(1, sources="data:application/gzip;base64," + b64encode(content).decode())
    assert len(body["sources"]) > 40 * 1024 * 1024
    answer = await exchange(waiting, "POST / HTTP/1.1", json.dumps(body).encode(), JSON)
    assert (answer.status, answer.body) == (200, OK)
    kept = await waiting.shuttle.get(f"/{body['build_uuid']}")
    assert hashlib.sha256(kept.body).digest() == hashlib.sha256(content).digest()


async def test_two_requests_on_one_connection_get_responses(waiting: LegacyApp):
    reader, writer = await asyncio.open_connection("127.0.0.1", waiting.shuttle.port)
    for number in (1, 2):
        body = json.dumps(waiting.request(number)).encode()
        writer.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        answer = await _answer(reader)
        assert (answer.status, answer.body) == (200, OK)
    writer.close()
