"""The http(s) sink where requests break: nothing lost, doubles known by offset, no secret said, no false end."""

import asyncio
from pathlib import Path

import pytest

from shuttle.errors import ObjectStoreError, StoreError
from shuttle.outgoing.connector import AddressPolicy, outgoing_session
from shuttle.sinks.forward import RetryPolicy
from tests.receivers import Exchange, Receiver, answering, answering_early, resetting
from tests.unit.sinks.conftest import Build, offsets

TEXT = b"".join(b"line %05d\n" % number for number in range(50_000))


def told(offset: int) -> dict[str, str]:
    return {"Shuttle-Log-Offset": str(offset)}


def assembled(receiver: Receiver) -> bytes:
    """The log as a receiver has it that drops doubles by offset."""
    log = bytearray()
    for exchange in receiver.exchanges:
        offset = int(exchange.headers["Shuttle-Log-Offset"])
        assert offset <= len(log), "bytes are missing"
        log[offset:] = exchange.body
    return bytes(log)


# --- broken requests ----------------------------------------------------------------------------------


async def test_a_broken_request_is_followed_by_one_from_its_first_offset(build: Build) -> None:
    async with Receiver(resetting(after_bytes=100_000), resetting(), answering(200)) as receiver:
        carrying = build.carry(receiver.url, acked_offset=7)
        build.log.append(TEXT)
        build.end()
        await carrying
        assert offsets(receiver) == [7, 7, 7]
        assert receiver.exchanges[-1].body == TEXT[7:]
        assert build.ledger.details("done") == [len(TEXT)]
        assert len(build.ledger.details("failing")) == 2


async def test_a_broken_request_goes_on_where_the_receiver_said_in_an_interim_answer(build: Build) -> None:
    async def acknowledging(exchange: Exchange) -> None:
        await exchange.read_at_least(1000)
        await exchange.interim(103, told(500))
        await exchange.interim(102, told(1000))
        await build.ledger.until("acknowledged", times=2)
        exchange.hang_up(reset=True)

    async with Receiver(acknowledging, answering(200)) as receiver:
        carrying = build.carry(receiver.url)
        build.log.append(TEXT[:1000])
        await build.ledger.until("failing")
        build.log.append(TEXT[1000:])
        build.end()
        await carrying
        assert offsets(receiver) == [0, 1000]
        assert assembled(receiver) == TEXT
        assert build.ledger.details("acknowledged")[:2] == [500, 1000]


@pytest.mark.parametrize("status", [200, 500])
async def test_an_early_answer_may_say_where_to_go_on(build: Build, status: int) -> None:
    async with Receiver(answering_early(status, told(300), after_bytes=1000), answering(200)) as receiver:
        carrying = build.carry(receiver.url)
        build.log.append(TEXT)
        await receiver.exchange(1)
        build.end()
        await carrying
        assert offsets(receiver) == [0, 300]
        assert receiver.exchanges[1].body == TEXT[300:]
        assert build.ledger.details("acknowledged") == [300, 300]


@pytest.mark.parametrize("nonsense", ["-1", "many", "", "99999999999999999999999", "1000001", "٣"])
async def test_an_offset_that_cannot_be_is_ignored(build: Build, nonsense: str) -> None:
    headers = {"Shuttle-Log-Offset": nonsense}
    async with Receiver(answering(500, headers), answering(200)) as receiver:
        build.log.append(TEXT[:1_000_000])
        build.end()
        await build.carry(receiver.url)
        assert offsets(receiver) == [0, 0]


async def test_an_early_2xx_goes_on_at_the_last_byte_sent(build: Build) -> None:
    """Also when the receiver does not keep up: what waits in our own buffers was not sent, and goes again."""
    async with Receiver(answering_early(202, after_bytes=1), answering(200), buffer_bytes=4096) as receiver:
        carrying = build.carry(receiver.url)
        build.log.append(TEXT * 20)
        build.end()
        await carrying
        first, second = receiver.exchanges
        await first.until(lambda: first.broken)
        assert 0 < offsets(receiver)[1] < len(TEXT) * 20
        assert second.body == (TEXT * 20)[offsets(receiver)[1] :]
        assert build.ledger.details("acknowledged") == [offsets(receiver)[1]]


async def test_resume_sent_repeats_nothing_that_was_sent(build: Build) -> None:
    async with Receiver(resetting(after_bytes=20), resetting(after_bytes=10), answering(200)) as receiver:
        carrying = build.carry(receiver.url, resume="sent")
        for number, size in enumerate((20, 30)):
            build.log.append(TEXT[build.log.size_bytes : size])
            await receiver.exchange(number)
            await receiver.until(receiver.exchanges[number].has_hung_up)
        build.log.append(TEXT[30:])
        build.end()
        await carrying
        assert offsets(receiver) == [0, 20, 30]
        assert b"".join(bytes(exchange.body) for exchange in receiver.exchanges) == TEXT
        assert build.ledger.details("acknowledged")[0] == 20


async def test_resume_sent_remembers_what_was_sent_when_the_shuttle_stops(build: Build) -> None:
    async with Receiver() as receiver:
        carrying = build.carry(receiver.url, resume="sent")
        build.log.append(b"one\n")
        exchange = await receiver.exchange(0)
        await exchange.until(lambda: exchange.body == b"one\n")
        build.log.append(b"two\n")
        await exchange.until(lambda: exchange.body == b"one\ntwo\n")
        carrying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await carrying
        assert build.ledger.details("acknowledged")[-1] == 8


# --- secrets, addresses, the log itself ---------------------------------------------------------------


async def test_no_error_shows_credentials_path_or_query(build: Build) -> None:
    async with Receiver(resetting(), answering(404)) as receiver:
        build.log.append(b"x\n")
        build.end()
        url = receiver.url.replace("//", "//user:passw0rd@") + "/hook/t0ken?sig=s1gnature"
        await build.carry(url, headers={"X": "h3ader"})
        port_closed = url.replace(str(receiver.port), "1")
        await build.carry(port_closed, RetryPolicy(give_up_seconds=0))
        for _, detail in build.ledger.said:
            assert not any(secret in str(detail) for secret in ("passw0rd", "user", "t0ken", "s1gnature", "h3ader"))


async def test_a_refused_address_is_said_and_never_connected_to(build: Build) -> None:
    async with Receiver() as receiver, outgoing_session(AddressPolicy(allow_loopback=False)) as session:
        build.session = session
        build.log.append(b"x\n")
        build.end()
        await build.carry(receiver.url, RetryPolicy(give_up_seconds=0.02, first_delay_seconds=0.01))
        assert not receiver.exchanges
        assert "SHUTTLE_ALLOW_NETWORKS" in str(build.ledger.said[-1][1])


async def test_a_log_that_cannot_be_read_now_is_no_end(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    async def out_of_reach(_offset: int, _limit_bytes: int) -> bytes:
        raise ObjectStoreError("The object store is out of reach.")

    async with Receiver() as receiver:
        carrying = build.carry(receiver.url)
        build.log.append(TEXT)
        first = await receiver.exchange(0)
        await first.until(lambda: len(first.body) == len(TEXT))
        with monkeypatch.context() as patch:
            patch.setattr(build.log, "read", out_of_reach)
            build.log.append(b"more\n")
            await first.until(lambda: first.broken)
            await build.ledger.until("failing")
        build.end()
        await carrying
        assert not first.ended
        assert assembled(receiver) == TEXT + b"more\n"
        assert "object store is out of reach" in str(build.ledger.details("failing")[0])


async def test_an_end_that_cannot_be_recorded_is_sent_again(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = build.ledger.done

    async def once_out_of_reach(sink_id: int, offset: int) -> None:
        monkeypatch.setattr(build.ledger, "done", recorded)
        raise StoreError("The database cannot be written.")

    monkeypatch.setattr(build.ledger, "done", once_out_of_reach)
    async with Receiver() as receiver:
        build.log.append(b"x\n")
        build.end()
        await build.carry(receiver.url)
        assert offsets(receiver) == [0, 0]
        assert build.ledger.said[-1] == ("done", 2)


async def test_the_sink_takes_the_session_that_production_makes(build: Build, tmp_path: Path) -> None:
    async with outgoing_session(AddressPolicy(allow_loopback=True), limit=0) as session:
        build.session = session
        async with Receiver(answering_early(200), answering(200)) as receiver:
            build.log.append(TEXT)
            build.end()
            await build.carry(receiver.url)
            assert build.ledger.said[-1] == ("done", len(TEXT))
