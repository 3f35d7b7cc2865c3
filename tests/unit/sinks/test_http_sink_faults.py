"""The http(s) sink with broken requests: no byte is lost, duplicates have the same offset, errors show no secrets."""

import asyncio
import socket
import ssl
import struct
from pathlib import Path

import aiohttp
import pytest
from multidict import CIMultiDict
from yarl import URL

from shuttle.errors import NotOwnerError, ObjectStoreError, ShuttleError, StoreError
from shuttle.outgoing.connector import AddressPolicy, outgoing_session
from shuttle.sinks.forward import RetryPolicy
from shuttle.sinks.host_recovery import HostRecovery
from shuttle.sinks.http_request import LogRequest
from tests.support.certificates import loopback_tls
from tests.support.receivers import Exchange, Receiver, answering, answering_early, resetting
from tests.unit.sinks.conftest import Build, offsets

TEXT = b"".join(b"line %05d\n" % number for number in range(50_000))


def offset_header(offset: int) -> dict[str, str]:
    return {"Shuttle-Log-Offset": str(offset)}


def assembled(receiver: Receiver) -> bytes:
    """The log that a receiver has after it has dropped duplicates by their offsets."""
    log = bytearray()
    for exchange in receiver.exchanges:
        offset = int(exchange.headers["Shuttle-Log-Offset"])
        assert offset <= len(log), "bytes are missing"
        log[offset:] = exchange.body
    return bytes(log)


# --- broken requests ----------------------------------------------------------------------------------


async def test_broken_request_is_repeated_from_its_first_offset(build: Build) -> None:
    async with Receiver(resetting(after_bytes=100_000), resetting(), answering(200)) as receiver:
        forwarding = build.forward(receiver.url, acked_offset=7)
        build.log.append(TEXT)
        build.end()
        await forwarding
        assert offsets(receiver) == [7, 7, 7]
        assert receiver.exchanges[-1].body == TEXT[7:]
        assert build.ledger.details("done") == [len(TEXT)]
        assert len(build.ledger.details("failing")) == 2


def read_a_byte_and_reset(listening: socket.socket, tls: ssl.SSLContext) -> None:
    connection, _ = listening.accept()
    with tls.wrap_socket(connection, server_side=True) as wrapped:
        wrapped.recv(1)
        wrapped.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def test_rest_of_a_long_log_is_not_written_to_a_broken_tls_connection(
    build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio logs each of these writes after the fifth."""
    tls, ca_file = loopback_tls(tmp_path)
    build.log.append(TEXT * 50)
    request = LogRequest(build.log, 0, timeout_seconds=lambda: 30, on_reported=ignore_offset, on_sent=ignore_offset)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        resetting_once = asyncio.create_task(asyncio.to_thread(read_a_byte_and_reset, listening, tls))
        async with outgoing_session(AddressPolicy(allow_loopback=True), ca_file=ca_file) as session:
            with pytest.raises(aiohttp.ClientError):
                await request.send(session, URL(f"https://127.0.0.1:{listening.getsockname()[1]}/"), CIMultiDict())
        await resetting_once
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def ignore_offset(_offset: int) -> None: ...


async def test_broken_request_resumes_at_the_offset_of_the_last_interim_answer(build: Build) -> None:
    async def acknowledging(exchange: Exchange) -> None:
        await exchange.read_at_least(1000)
        await exchange.interim(103, offset_header(500))
        await exchange.interim(102, offset_header(1000))
        await build.ledger.until("acknowledged", times=2)
        exchange.hang_up(reset=True)

    async with Receiver(acknowledging, answering(200)) as receiver:
        forwarding = build.forward(receiver.url)
        build.log.append(TEXT[:1000])
        await build.ledger.until("failing")
        build.log.append(TEXT[1000:])
        build.end()
        await forwarding
        assert offsets(receiver) == [0, 1000]
        assert assembled(receiver) == TEXT
        assert build.ledger.details("acknowledged")[:2] == [500, 1000]


@pytest.mark.parametrize("status", [200, 500])
async def test_early_answer_may_set_the_offset_to_resume_at(build: Build, status: int) -> None:
    async with Receiver(answering_early(status, offset_header(300), after_bytes=1000), answering(200)) as receiver:
        forwarding = build.forward(receiver.url)
        build.log.append(TEXT)
        await receiver.exchange(1)
        build.end()
        await forwarding
        assert offsets(receiver) == [0, 300]
        assert receiver.exchanges[1].body == TEXT[300:]
        assert build.ledger.details("acknowledged") == [300, 300]


async def test_complete_request_is_continued_at_the_smaller_offset_of_its_answer(build: Build) -> None:
    async with Receiver(answering(200, offset_header(300)), answering(200)) as receiver:
        build.log.append(TEXT)
        build.end()
        await build.forward(receiver.url)
        assert offsets(receiver) == [0, 300]
        assert receiver.exchanges[1].body == TEXT[300:]
    assert build.ledger.calls[-1] == ("done", len(TEXT))


@pytest.mark.parametrize("nonsense", ["-1", "many", "", "99999999999999999999999", "1000001", "٣"])
async def test_impossible_offset_in_an_answer_is_ignored(build: Build, nonsense: str) -> None:
    headers = {"Shuttle-Log-Offset": nonsense}
    async with Receiver(answering(500, headers), answering(200)) as receiver:
        build.log.append(TEXT[:1_000_000])
        build.end()
        await build.forward(receiver.url)
        assert offsets(receiver) == [0, 0]


async def test_log_resumes_at_the_last_sent_byte_after_an_early_2xx(build: Build) -> None:
    """Bytes that still wait in our own buffers, because the receiver is slow, were not sent and are sent again."""
    async with Receiver(answering_early(202, after_bytes=1), answering(200), buffer_bytes=4096) as receiver:
        forwarding = build.forward(receiver.url)
        build.log.append(TEXT * 20)
        build.end()
        await forwarding
        first, second = receiver.exchanges
        await first.until(lambda: first.broken)
        assert 0 < offsets(receiver)[1] < len(TEXT) * 20
        assert second.body == (TEXT * 20)[offsets(receiver)[1] :]
        assert build.ledger.details("acknowledged") == [offsets(receiver)[1]]


async def test_resume_sent_does_not_repeat_sent_bytes(build: Build) -> None:
    async with Receiver(resetting(after_bytes=20), resetting(after_bytes=10), answering(200)) as receiver:
        forwarding = build.forward(receiver.url, resume="sent")
        for number, size in enumerate((20, 30)):
            build.log.append(TEXT[build.log.size_bytes : size])
            await receiver.exchange(number)
            await receiver.until(receiver.exchanges[number].has_hung_up)
        build.log.append(TEXT[30:])
        build.end()
        await forwarding
        assert offsets(receiver) == [0, 20, 30]
        assert b"".join(bytes(exchange.body) for exchange in receiver.exchanges) == TEXT
        assert build.ledger.details("acknowledged")[0] == 20


async def test_resume_sent_repeats_a_refused_request(build: Build) -> None:
    """A proxy without a working receiver takes bytes, too, but throws them away."""
    scripts = (answering_early(502), answering_early(503, after_bytes=10), answering(502), answering(200))
    async with Receiver(*scripts) as receiver:
        forwarding = build.forward(receiver.url, resume="sent")
        build.log.append(TEXT[:20])
        await receiver.exchange(2)
        build.log.append(TEXT[20:])
        build.end()
        await forwarding
        assert offsets(receiver) == [0, 0, 0, 0]
        assert receiver.exchanges[3].body == TEXT
        acknowledged = build.ledger.details("acknowledged")
        assert acknowledged[-1] == len(TEXT)
        assert acknowledged.count(0) == 3, "after a kill, the next process would begin behind refused bytes"


async def test_resume_sent_does_not_repeat_bytes_of_a_request_that_a_proxy_cuts(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that was open for longer than this counts as passed on."""
    monkeypatch.setattr("shuttle.sinks.http._SUCCESS_AFTER_SECONDS", 0)
    async with Receiver(answering_early(504, after_bytes=20), answering(200)) as receiver:
        forwarding = build.forward(receiver.url, resume="sent")
        build.log.append(TEXT[:20])
        await build.ledger.until("failing")
        build.log.append(TEXT[20:])
        build.end()
        await forwarding
        assert offsets(receiver) == [0, 20]


async def test_resume_sent_records_the_sent_offset_when_the_shuttle_stops(build: Build) -> None:
    async with Receiver() as receiver:
        forwarding = build.forward(receiver.url, resume="sent")
        build.log.append(b"one\n")
        exchange = await receiver.exchange(0)
        await exchange.until(lambda: exchange.body == b"one\n")
        build.log.append(b"two\n")
        await exchange.until(lambda: exchange.body == b"one\ntwo\n")
        forwarding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await forwarding
        assert build.ledger.details("acknowledged")[-1] == 8


# --- secrets, addresses, the log itself ---------------------------------------------------------------


async def test_errors_show_no_credentials_path_or_query(build: Build) -> None:
    async with Receiver(resetting(), answering(404)) as receiver:
        build.log.append(b"x\n")
        build.end()
        url = receiver.url.replace("//", "//user:passw0rd@") + "/hook/t0ken?sig=s1gnature"
        await build.forward(url, headers={"X": "h3ader"})
        port_closed = url.replace(str(receiver.port), "1")
        await build.forward(port_closed, RetryPolicy(give_up_seconds=0))
        for _, detail in build.ledger.calls:
            assert not any(secret in str(detail) for secret in ("passw0rd", "user", "t0ken", "s1gnature", "h3ader"))


async def test_refused_address_is_reported_and_not_connected_to(build: Build) -> None:
    async with Receiver() as receiver, outgoing_session(AddressPolicy(allow_loopback=False)) as session:
        build.session = session
        build.log.append(b"x\n")
        build.end()
        await build.forward(receiver.url, RetryPolicy(give_up_seconds=0.02, first_delay_seconds=0.01))
        assert not receiver.exchanges
        assert "SHUTTLE_ALLOW_NETWORKS" in str(build.ledger.calls[-1][1])


async def test_unreadable_log_breaks_the_request_instead_of_ending_it(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(_offset: int, _limit_bytes: int) -> bytes:
        raise ObjectStoreError("The object store is unavailable.")

    async with Receiver() as receiver:
        forwarding = build.forward(receiver.url)
        build.log.append(TEXT)
        first = await receiver.exchange(0)
        await first.until(lambda: len(first.body) == len(TEXT))
        with monkeypatch.context() as patch:
            patch.setattr(build.log, "read", unavailable)
            build.log.append(b"more\n")
            await first.until(lambda: first.broken)
            await build.ledger.until("failing")
        build.end()
        await forwarding
        assert not first.ended
        assert assembled(receiver) == TEXT + b"more\n"
        assert "object store is unavailable" in str(build.ledger.details("failing")[0])


def fail_to_record(build: Build, monkeypatch: pytest.MonkeyPatch, error: ShuttleError) -> None:
    """The end of the log cannot be recorded once."""
    recorded = build.ledger.done

    async def fail_once(sink_id: int, offset: int) -> None:
        monkeypatch.setattr(build.ledger, "done", recorded)
        raise error

    monkeypatch.setattr(build.ledger, "done", fail_once)


async def test_end_that_cannot_be_recorded_is_sent_again(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_to_record(build, monkeypatch, StoreError("The database cannot be written."))
    async with Receiver() as receiver:
        build.log.append(b"x\n")
        build.end()
        await build.forward(receiver.url)
        assert offsets(receiver) == [0, 0]
        assert build.ledger.calls[-1] == ("done", 2)


async def test_failure_to_record_is_retried_after_the_first_delay(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, a single one delayed the end of a log by up to a minute."""
    fail_to_record(build, monkeypatch, StoreError("The database cannot be written."))
    build.host_recovery = HostRecovery(probe_seconds=3600)
    slow_in_the_end = RetryPolicy(first_delay_seconds=0.01, longest_delay_seconds=3600)
    async with Receiver() as receiver, asyncio.timeout(10):
        build.log.append(b"x\n")
        build.end()
        await build.forward(receiver.url, slow_in_the_end)
        assert build.ledger.calls[-1] == ("done", 2)


async def test_nothing_is_sent_again_after_another_replica_has_taken_the_app(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, the task went on for an app that was lost. If the app came back, no other task was started for it."""
    fail_to_record(build, monkeypatch, NotOwnerError())
    async with Receiver() as receiver:
        build.log.append(b"x\n")
        build.end()
        with pytest.raises(NotOwnerError):
            await build.forward(receiver.url)
        assert offsets(receiver) == [0]


async def test_sink_works_with_the_session_of_the_product(build: Build, tmp_path: Path) -> None:
    async with outgoing_session(AddressPolicy(allow_loopback=True), limit=0) as session:
        build.session = session
        async with Receiver(answering_early(200), answering(200)) as receiver:
            build.log.append(TEXT)
            build.end()
            await build.forward(receiver.url)
            assert build.ledger.calls[-1] == ("done", len(TEXT))
