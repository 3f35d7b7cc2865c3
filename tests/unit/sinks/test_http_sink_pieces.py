"""A receiver that refuses large requests (413) gets the log in pieces: complete requests, all marked but the last."""

import asyncio

import pytest

from tests.support.receivers import Exchange, Receiver, Script, answering
from tests.unit.sinks.conftest import Build

TEXT = b"".join(b"line %094d\n" % number for number in range(52_000))  # 5.2 MB


def limited(limit_bytes: int, *, reset: bool = False, reports_offset: bool = False) -> Script:
    """Accepts requests of up to `limit_bytes`; answers a longer one with 413 at once and discards the rest of it.

    With `reset` it resets the connection instead of reading the rest.
    """

    async def script(exchange: Exchange) -> None:
        while not exchange.ended and not exchange.broken and len(exchange.body) <= limit_bytes:
            await exchange.read_chunk()
        if exchange.broken:
            return
        offset = int(exchange.headers["Shuttle-Log-Offset"])
        if len(exchange.body) <= limit_bytes:
            await exchange.answer(204, {})
            return
        await exchange.answer(413, {"Shuttle-Log-Offset": str(offset + 1000)} if reports_offset else {})
        if not reset:
            await exchange.discard_rest()
        exchange.hang_up(reset=reset)

    return script


def accepted(receiver: Receiver) -> list[Exchange]:
    return [exchange for exchange in receiver.exchanges if exchange.ended]


def is_piece(exchange: Exchange) -> bool:
    return exchange.headers.get("Shuttle-Log-Piece") == "true"


def assert_whole(receiver: Receiver, text: bytes) -> None:
    """The complete requests together are the log, in order, and all except the last are marked as pieces."""
    requests = accepted(receiver)
    at = 0
    for exchange in requests:
        assert int(exchange.headers["Shuttle-Log-Offset"]) == at
        assert exchange.body == text[at : at + len(exchange.body)]
        at += len(exchange.body)
    assert at == len(text)
    assert [is_piece(exchange) for exchange in requests] == [True] * (len(requests) - 1) + [False]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("limit_bytes", [100_000, 1_000_000])
async def test_finished_log_arrives_in_pieces(build: Build, limit_bytes: int, reset: bool) -> None:
    build.log.append(TEXT)
    build.end()
    async with Receiver(limited(limit_bytes, reset=reset), buffer_bytes=65_536) as receiver:
        await build.forward(receiver.url)
        assert_whole(receiver, TEXT)
        assert not is_piece(receiver.exchanges[0])
    assert build.ledger.calls[-1] == ("done", len(TEXT))
    assert build.ledger.details("acknowledged") == sorted(build.ledger.details("acknowledged"))  # type: ignore[type-var]


async def test_each_refusal_halves_the_pieces(build: Build) -> None:
    build.log.append(TEXT)
    build.end()
    async with Receiver(limited(1_000_000), buffer_bytes=65_536) as receiver:
        await build.forward(receiver.url)
        refused = [exchange for exchange in receiver.exchanges if not exchange.ended]
        assert max(len(exchange.body) for exchange in accepted(receiver)) <= 1_000_000
        assert len(refused) <= 4


async def test_log_resumes_at_the_offset_in_the_refusal(build: Build) -> None:
    build.log.append(TEXT[:20_000])
    build.end()
    async with Receiver(limited(8_000, reports_offset=True)) as receiver:
        await build.forward(receiver.url)
        second = receiver.exchanges[1]
        assert second.headers["Shuttle-Log-Offset"] == "1000"
        assert len(second.body) <= 1_024
        assert not is_piece(accepted(receiver)[-1])
    assert build.ledger.calls[-1] == ("done", 20_000)


async def test_pieces_of_a_running_build_are_sent_without_delay(build: Build) -> None:
    async with Receiver(limited(100_000)) as receiver:
        forwarding = build.forward(receiver.url)
        build.log.append(TEXT[:150_000])
        await receiver.until(lambda: len(accepted(receiver)) >= 1)
        # A line arrives although its piece is not full.
        build.log.append(b"a line\n")
        await receiver.until(lambda: receiver.exchanges[-1].body.endswith(b"a line\n"))
        assert is_piece(receiver.exchanges[-1])
        build.end()
        await forwarding
        assert_whole(receiver, TEXT[:150_000] + b"a line\n")


async def test_refusal_before_the_first_byte_leads_to_pieces_of_a_usable_size(build: Build) -> None:
    async def refuses(exchange: Exchange) -> None:
        await exchange.answer(413)

    build.log.append(TEXT)
    build.end()
    async with Receiver(refuses, limited(200_000), buffer_bytes=65_536) as receiver:
        await build.forward(receiver.url)
        assert_whole(receiver, TEXT)
        assert len(receiver.exchanges) < 100


async def test_unacknowledged_piece_is_sent_again_by_the_next_attempt(build: Build) -> None:
    async def acknowledges_nothing(exchange: Exchange) -> None:
        await exchange.read_all()
        await exchange.answer(200, {"Shuttle-Log-Offset": exchange.headers["Shuttle-Log-Offset"]})

    build.log.append(TEXT[:200_000])
    build.end()
    async with Receiver(limited(100_000), acknowledges_nothing, answering(200), buffer_bytes=65_536) as receiver:
        await build.forward(receiver.url)
        assert [exchange.headers["Shuttle-Log-Offset"] for exchange in receiver.exchanges[:3]] == ["0", "0", "0"]
    assert "without acknowledging any byte of the request" in str(build.ledger.details("failing")[-1])


async def test_413_to_the_smallest_piece_is_retried_like_other_failures(build: Build) -> None:
    async with Receiver(limited(10), buffer_bytes=65_536) as receiver:
        build.log.append(TEXT[:10_000])
        build.end()
        forwarding = build.forward(receiver.url)
        await build.ledger.until("failing", times=8)
        forwarding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await forwarding
    assert "answered 413" in str(build.ledger.details("failing")[-1])


async def test_pieces_lack_nothing_with_resume_sent(build: Build) -> None:
    """A refused request is not continued behind its last byte: the receiver has refused all of it."""
    async with Receiver(limited(20_000)) as receiver:
        forwarding = build.forward(receiver.url, resume="sent")
        build.log.append(TEXT)
        build.end()
        await forwarding
        accepted = [exchange for exchange in receiver.exchanges if exchange.ended]
        assert b"".join(bytes(exchange.body) for exchange in accepted) == TEXT
