"""The http(s) sink with receivers that refuse, are down or do not answer: it retries, up to its limits."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from shuttle.clock import Clock
from shuttle.sinks.forward import LogForwarder, RetryPolicy
from shuttle.sinks.http import HttpUploadFactory
from tests.support.receivers import Exchange, Receiver, answering, answering_early, hanging, silent
from tests.unit.sinks.conftest import Build, offsets

TEXT = b"".join(b"line %05d\n" % number for number in range(50_000))
IMPATIENT = RetryPolicy(give_up_seconds=60, first_delay_seconds=0.01, longest_delay_seconds=0.02, timeout_seconds=0.2)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
@pytest.mark.parametrize("early", [True, False])
async def test_sink_gives_up_after_five_refusals(build: Build, status: int, early: bool) -> None:
    script = answering_early(status, after_bytes=1) if early else answering(status)
    async with Receiver(script) as receiver:
        build.log.append(TEXT)
        if not early:
            build.end()
        await build.forward(receiver.url)
        assert len(receiver.exchanges) == 5
        assert build.ledger.calls[-1] == ("gave_up", f"127.0.0.1:{receiver.port} answered {status}.")
        assert not build.ledger.details("done")


async def test_sink_retries_after_four_refusals(build: Build) -> None:
    async with Receiver(*[answering(404)] * 4, answering(200)) as receiver:
        build.log.append(b"x\n")
        build.end()
        await build.forward(receiver.url)
        assert build.ledger.calls[-1] == ("done", 2)


async def test_refusals_that_acknowledge_bytes_are_not_counted_together(build: Build) -> None:
    refusals = [answering(404, {"Shuttle-Log-Offset": str(offset)}) for offset in range(1, 7)]
    async with Receiver(*refusals, answering(200)) as receiver:
        build.log.append(b"some words\n")
        build.end()
        await build.forward(receiver.url)
        assert build.ledger.calls[-1] == ("done", 11)


@pytest.mark.parametrize("status", [400, 413, 429, 500, 503])
async def test_other_error_statuses_are_retried(build: Build, status: int) -> None:
    async with Receiver(*[answering(status)] * 6, answering(200)) as receiver:
        build.log.append(b"x\n")
        build.end()
        await build.forward(receiver.url)
        assert build.ledger.calls[-1] == ("done", 2)
        assert len(build.ledger.details("failing")) == 6


async def test_receiver_that_refuses_connections_is_retried(build: Build) -> None:
    async with Receiver() as receiver:
        url = receiver.url
    forwarding = build.forward(url)
    build.log.append(b"x\n")
    await build.ledger.until("failing", times=3)
    assert str(build.ledger.details("failing")[0]).endswith("cannot be reached (Connection refused).")
    forwarding.cancel()


async def test_unknown_host_name_is_reported(build: Build) -> None:
    forwarding = build.forward("http://no-such-host.invalid/")
    build.log.append(b"x\n")
    await build.ledger.until("failing", times=1)
    assert "no-such-host.invalid has a host name that cannot be resolved." in str(build.ledger.details("failing")[0])
    forwarding.cancel()


async def test_sink_gives_up_some_time_after_the_builds_end(build: Build) -> None:
    retry_policy = RetryPolicy(give_up_seconds=0.05, first_delay_seconds=0.01, longest_delay_seconds=0.02)
    async with Receiver(answering_early(500)) as receiver:
        forwarding = build.forward(receiver.url, retry_policy)
        build.log.append(b"x\n")
        await receiver.exchange(7)
        assert not forwarding.done()
        build.end()
        await forwarding
        assert build.ledger.calls[-1][0] == "gave_up"


@pytest.mark.parametrize(("status", "end"), [(500, "gave_up"), (200, "done")])
async def test_log_of_a_build_that_ended_long_ago_is_tried_once(build: Build, status: int, end: str) -> None:
    async with Receiver(answering(status)) as receiver:
        build.log.append(b"x\n")
        build.log.end()
        build.finished_at = datetime.now(UTC) - timedelta(days=2)
        await build.forward(receiver.url, RetryPolicy())
        assert build.ledger.calls[-1][0] == end
        assert len(receiver.exchanges) == 1


async def test_receiver_that_never_answers_times_out_and_is_retried(build: Build) -> None:
    async with Receiver(silent, answering(200)) as receiver:
        build.log.append(b"x\n")
        build.end()
        await build.forward(receiver.url, IMPATIENT)
        assert set(offsets(receiver)) == {0}
        assert receiver.exchanges[-1].body == b"x\n"
        assert "timed out" in str(build.ledger.details("failing")[0])


async def test_connection_to_a_receiver_that_stops_reading_is_closed(build: Build) -> None:
    async with Receiver(hanging, buffer_bytes=4096) as receiver:
        build.log.append(TEXT * 20)
        forwarding = build.forward(receiver.url, IMPATIENT)
        await build.ledger.until("failing")
        assert "timed out" in str(build.ledger.details("failing")[0])
        forwarding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await forwarding
        assert not closing_connections()
        first = receiver.exchanges[0]
        await first.read_all()
        assert first.broken
        assert len(first.body) < len(TEXT) * 20


def closing_connections() -> list[asyncio.Transport]:
    """Connections that were closed but still wait until their peer has read the rest."""
    transports = asyncio.get_running_loop()._transports.values()  # type: ignore[attr-defined]
    return [one for one in transports if one.is_closing() and one.get_write_buffer_size()]


async def test_silent_log_does_not_time_out(build: Build) -> None:
    async with Receiver() as receiver:
        forwarding = build.forward(receiver.url, IMPATIENT)
        build.log.append(b"x\n")
        exchange = await receiver.exchange(0)
        with pytest.raises(TimeoutError):  # twice the timeout passes and the request stays open
            await asyncio.wait_for(exchange.until(lambda: exchange.broken), 2 * IMPATIENT.timeout_seconds)
        build.end()
        await forwarding
        assert build.ledger.calls == [("live", None), ("done", 2)]


async def test_answer_that_is_not_http_is_retried(build: Build) -> None:
    async def gibberish(exchange: Exchange) -> None:
        exchange._writer.write(b"\x00\xff not http\r\n\r\n")
        await exchange.read_all()

    async with Receiver(gibberish, answering(200)) as receiver:
        build.log.append(b"x\n")
        build.end()
        await build.forward(receiver.url)
        assert build.ledger.calls[-1] == ("done", 2)


def test_delays_are_bounded_for_any_number_of_failures(build: Build) -> None:
    sink = LogForwarder(HttpUploadFactory(build.session), RetryPolicy(), build.host_recovery, Clock())
    assert all(0.5 <= sink._delay_seconds(failures) <= 60 for failures in (0, 1, 2, 10, 10_000))
    assert sink._delay_seconds(1) <= 1
    assert sink._delay_seconds(7) >= 30
