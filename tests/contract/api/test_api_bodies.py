"""The slowest body that is accepted, and the memory and disk space for all bodies together."""

import asyncio
import gzip
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.api.test_api_connections import answer_of, connected
from tests.support.inprocess import Shuttle, running_shuttle, script_request

HEAD = b"POST /slow/%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"


@pytest.fixture
async def hurried(tmp_path) -> AsyncIterator[Shuttle]:
    async with running_shuttle(
        tmp_path, SHUTTLE_BODY_STALL_SECONDS="0.4", SHUTTLE_BODY_DISK_BYTES="3000000"
    ) as shuttle:
        yield shuttle


@pytest.mark.parametrize("sent_before", [0, 10, 2_000_000])
@pytest.mark.parametrize("drips", [False, True])
async def test_stalled_body_gets_408(hurried: Shuttle, sent_before: int, drips: bool):
    async with connected(hurried, HEAD % (1, 60_000_000) + b" " * sent_before) as (reader, writer):
        answering = asyncio.create_task(answer_of(reader))
        began_at = asyncio.get_running_loop().time()
        while not answering.done():
            await asyncio.wait([answering], timeout=0.05)
            if drips:
                writer.write(b" ")
        status, _, body = answering.result()
        assert (status, body["code"]) == (408, "body_timeout")
        assert asyncio.get_running_loop().time() - began_at < 3


async def test_slow_body_is_accepted(hurried: Shuttle):
    body = json.dumps(script_request()).encode().ljust(20_000)
    async with connected(hurried, HEAD % (2, len(body))) as (reader, writer):
        for start in range(0, len(body), 1000):
            writer.write(body[start : start + 1000])
            await asyncio.sleep(0.05)
        assert (await answer_of(reader))[0] == 200


async def test_bodies_beyond_the_total_limit_get_503(hurried: Shuttle):
    async with connected(hurried, HEAD % (3, 4_000_000) + b" " * 4_000_000) as (reader, _):
        status, headers, body = await answer_of(reader)
        assert (status, body["code"], headers["retry-after"]) == (503, "busy", "5")
    body = json.dumps(script_request()).encode().ljust(2_900_000)
    async with connected(hurried, HEAD % (4, len(body)) + body) as (reader, _):
        assert (await answer_of(reader))[0] == 200
    assert [path.name for path in hurried.data.iterdir() if path.name.startswith(("body-", "data-source-"))] == []


@pytest.mark.parametrize(("members", "status"), [(1000, 200), (1001, 400)])
async def test_number_of_gzip_members_is_limited_to_1000(hurried: Shuttle, members: int, status: int):
    """Each member needs memory for a moment, even if it is empty."""
    packed = gzip.compress(b"") * (members - 1) + gzip.compress(json.dumps(script_request()).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await hurried.ask("POST", f"/members/{members}", data=packed, headers=headers)
    assert answer.status == status
    assert status == 200 or "1000 members" in answer.json["message"]


@pytest.mark.parametrize(("size_bytes", "status"), [(4 * 2**20, 200), (4 * 2**20 + 2, 415)])
async def test_size_of_json_in_another_charset_is_limited(tmp_path: Path, size_bytes: int, status: int):
    written = json.dumps(script_request(metadata="é"), ensure_ascii=False)
    body = io.BytesIO(written.ljust(size_bytes // 2).encode("utf-16-le"))
    async with running_shuttle(tmp_path) as shuttle:
        headers = {"Content-Type": "application/json; charset=utf-16-le"}
        assert (await shuttle.ask("POST", "/app/1", data=body, headers=headers)).status == status


@pytest.mark.parametrize("charset", ["punycode", "unicode_escape", "utf-7", "rot13", "zlib"])
async def test_charsets_that_no_json_has_are_refused_unread(hurried: Shuttle, charset: str):
    """1 MiB of `punycode` took Python minutes."""
    headers = {"Content-Type": f"application/json; charset={charset}"}
    answer = await hurried.ask("POST", f"/odd/{charset}", data=b"\0-" + b"a" * 30, headers=headers)
    assert (answer.status, answer.json["message"]) == (415, "Send the body in UTF-8.")


@pytest.mark.parametrize("charset", ["utf-16-le", "utf-16-be", "utf-16", "utf-32-le", "utf-32"])
async def test_json_in_utf_16_is_read_also_without_a_letter_beyond_ascii(hurried: Shuttle, charset: str):
    """Its bytes are valid UTF-8 with NUL characters, which no JSON has."""
    headers = {"Content-Type": f"application/json; charset={charset}"}
    body = json.dumps(script_request()).encode(charset)
    assert (await hurried.ask("POST", f"/ascii/{charset}", data=body, headers=headers)).status == 200
