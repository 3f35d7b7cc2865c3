"""The demo's receiver reports every event once and every log byte once and in order, even after lost connections."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from shuttle.cli.demo.receiver import Receiver


class Heard:
    def __init__(self) -> None:
        self.statuses: list[str] = []
        self.log = b""
        self.first_piece = asyncio.Event()

    def status(self, _build, body) -> None:
        self.statuses.append(body["status"])

    def piece(self, _build, piece) -> None:
        self.log += piece
        self.first_piece.set()


@pytest.fixture
async def heard() -> Heard:
    return Heard()


@pytest.fixture
async def receiver(heard: Heard) -> AsyncIterator[Receiver]:
    receiver = Receiver(on_status=heard.status, on_log=heard.piece)
    await receiver.start()
    yield receiver
    await receiver.close()
    await receiver.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_event_that_is_sent_twice_is_reported_once(receiver, heard, http):
    for webhook_id, status in (("m1", "queued"), ("m1", "queued"), ("m2", "succeeded")):
        body = {"app_id": "a", "build_id": "1", "status": status}
        async with http.post(receiver.status_url, json=body, headers={"webhook-id": webhook_id}) as answer:
            assert answer.status == 204
    assert heard.statuses == ["queued", "succeeded"]
    assert receiver.build("a", "1").final_status.is_set()


async def test_log_bytes_sent_again_after_a_cut_are_reported_once(receiver, heard, http):
    async def cut() -> AsyncIterator[bytes]:
        yield b"one two "
        await heard.first_piece.wait()
        raise ConnectionResetError

    with pytest.raises(aiohttp.ClientError):
        await http.post(receiver.log_url, data=cut(), headers=_headers(0))
    build = receiver.build("ä/", "1")
    assert not build.log_ended.is_set()

    async with http.post(receiver.log_url, data=b"two three", headers=_headers(4)) as answer:
        assert (answer.status, answer.headers["Shuttle-Log-Offset"]) == (200, "13")
    assert heard.log == b"one two three"
    assert build.log_ended.is_set()
    assert build.log_sha256 == hashlib.sha256(b"one two three").hexdigest()


async def test_request_after_a_gap_is_answered_with_the_missing_offset(receiver, heard, http):
    async with http.post(receiver.log_url, data=b"three", headers=_headers(8)) as answer:
        assert (answer.status, answer.headers["Shuttle-Log-Offset"]) == (409, "0")
    assert heard.log == b""
    assert not receiver.build("ä/", "1").log_ended.is_set()


async def test_empty_log_is_complete_too(receiver, http):
    async with http.post(receiver.log_url, data=b"", headers=_headers(0)) as answer:
        assert answer.status == 200
    assert receiver.build("ä/", "1").log_ended.is_set()


def _headers(offset: int) -> dict[str, str]:
    return {"Shuttle-App-Id": "%C3%A4/", "Shuttle-Build-Id": "1", "Shuttle-Log-Offset": str(offset)}
