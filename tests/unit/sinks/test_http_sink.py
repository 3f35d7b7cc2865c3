"""The http(s) sink with receivers that work: one request with the whole log, its headers and its end."""

import asyncio
import base64
import json

import pytest

from tests.support.receivers import Receiver, answering, answering_early, hanging
from tests.unit.sinks.conftest import Build


async def test_one_request_stays_open_until_the_log_ends(build: Build) -> None:
    async with Receiver() as receiver:
        forwarding = build.forward(receiver.url)
        build.log.append(b"one\n")
        exchange = await receiver.exchange(0)
        await exchange.until(lambda: exchange.body == b"one\n")
        build.log.append(b"two\n")
        await exchange.until(lambda: exchange.body == b"one\ntwo\n")
        await build.ledger.until("live")
        assert not exchange.ended
        build.end()
        await forwarding
        assert exchange.ended
        assert exchange.chunks == 2
        assert len(receiver.exchanges) == 1
        assert build.ledger.calls == [("live", None), ("done", 8)]


async def test_no_request_is_sent_before_the_first_byte(build: Build) -> None:
    async with Receiver() as receiver:
        forwarding = build.forward(receiver.url)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not receiver.exchanges
        build.log.append(b"first\n")
        assert (await receiver.exchange(0)).method == "POST"
        build.end()
        await forwarding


async def test_empty_log_is_sent_as_an_empty_complete_request(build: Build) -> None:
    async with Receiver() as receiver:
        build.end()
        await build.forward(receiver.url)
        exchange = await receiver.exchange(0)
        assert (bytes(exchange.body), exchange.ended) == (b"", True)
        assert exchange.headers["Transfer-Encoding"] == "chunked"
        assert build.ledger.calls == [("done", 0)]


async def test_headers_identify_the_build(build: Build) -> None:
    async with Receiver() as receiver:
        build.log.append(b"x\n")
        build.end()
        await build.forward(
            receiver.url.replace("//", "//us%40er:p%2Fw@") + "/logs/a%2Fb?sig=%7e+a%20b",
            app_id="żółw 100%",
            build_id="b 1",
            build_uuid="0a1b",
            metadata_json='{"a":"\\u017c","n":[1,2.0]}',
            headers={"X-Token": "t0", "shuttle-metadata": "mine", "Transfer-Encoding": "identity"},
        )
        exchange = await receiver.exchange(0)
        assert exchange.target == "/logs/a%2Fb?sig=%7e+a%20b"
        assert exchange.headers.getall("Shuttle-Metadata") == ['{"a":"\\u017c","n":[1,2.0]}']
        assert {name: exchange.headers[name] for name in exchange.headers if name.startswith("Shuttle")} == {
            "Shuttle-App-Id": "%C5%BC%C3%B3%C5%82w 100%",
            "Shuttle-Build-Id": "b 1",
            "Shuttle-Build-Uuid": "0a1b",
            "Shuttle-Log-Offset": "0",
            "Shuttle-Metadata": '{"a":"\\u017c","n":[1,2.0]}',
        }
        assert exchange.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert exchange.headers.getall("Transfer-Encoding") == ["chunked"]
        assert exchange.headers["X-Token"] == "t0"
        assert exchange.headers["Authorization"] == "Basic " + base64.b64encode(b"us@er:p/w").decode()
        assert exchange.headers["Host"] == f"127.0.0.1:{receiver.port}"


async def test_metadata_above_4_kib_is_omitted_and_marked(build: Build) -> None:
    async with Receiver() as receiver:
        build.end()
        await build.forward(receiver.url, metadata_json=json.dumps("x" * 4094))
        build.ledger.calls.clear()
        await build.forward(receiver.url, metadata_json=json.dumps("x" * 4095))
        fitting, omitted = receiver.exchanges
        assert len(fitting.headers["Shuttle-Metadata"]) == 4096
        assert "Shuttle-Metadata-Omitted" not in fitting.headers
        assert "Shuttle-Metadata" not in omitted.headers
        assert omitted.headers["Shuttle-Metadata-Omitted"] == "true"


async def test_request_starts_at_the_acknowledged_offset(build: Build) -> None:
    async with Receiver() as receiver:
        build.log.append(b"0123456789")
        build.end()
        await build.forward(receiver.url, acked_offset=4)
        exchange = await receiver.exchange(0)
        assert exchange.headers["Shuttle-Log-Offset"] == "4"
        assert exchange.body == b"456789"
        assert build.ledger.details("done") == [10]


async def test_fully_acknowledged_log_still_gets_its_end(build: Build) -> None:
    async with Receiver() as receiver:
        build.log.append(b"0123456789")
        build.end()
        await build.forward(receiver.url, acked_offset=10)
        exchange = await receiver.exchange(0)
        assert exchange.headers["Shuttle-Log-Offset"] == "10"
        assert (bytes(exchange.body), exchange.ended) == (b"", True)


async def test_large_log_arrives_unchanged(build: Build) -> None:
    text = b"".join(b"line %07d\n" % number for number in range(300_000))
    async with Receiver() as receiver:
        forwarding = build.forward(receiver.url)
        for at in range(0, len(text), 100_001):
            build.log.append(text[at : at + 100_001])
            await asyncio.sleep(0)
        build.end()
        await forwarding
        assert (await receiver.exchange(0)).body == text


async def test_cancelled_sink_aborts_the_request_without_its_end(build: Build) -> None:
    async with Receiver() as receiver:
        forwarding = build.forward(receiver.url)
        build.log.append(b"half of it\n")
        exchange = await receiver.exchange(0)
        await exchange.until(lambda: exchange.body)
        forwarding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await forwarding
        await exchange.until(lambda: exchange.broken)
        assert not exchange.ended
        assert not build.ledger.details("done")


async def test_cancelled_sink_closes_the_connection_to_a_receiver_that_reads_nothing(build: Build) -> None:
    async with Receiver(hanging, buffer_bytes=4096) as receiver:
        build.log.append(b"x" * 20_000_000)
        forwarding = build.forward(receiver.url)
        await receiver.exchange(0)
        forwarding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await forwarding
        exchange = receiver.exchanges[0]
        await exchange.read_all()
        assert exchange.broken
        exchange.hang_up()


async def test_redirect_is_a_failure_and_is_not_followed(build: Build) -> None:
    async with Receiver() as other, Receiver(answering(307, {"Location": other.url}), answering(200)) as receiver:
        build.log.append(b"x\n")
        build.end()
        await build.forward(receiver.url)
        assert not other.exchanges
        assert build.ledger.details("failing") == [f"127.0.0.1:{receiver.port} answered 307."]


async def test_hung_receiver_does_not_delay_another_one(build: Build) -> None:
    async with Receiver(hanging, buffer_bytes=4096) as slow, Receiver() as quick:
        build.log.append(b"y" * 30_000_000)
        held = build.forward(slow.url)
        await slow.exchange(0)
        forwarded = build.forward(quick.url)
        build.end()
        await forwarded
        assert len(quick.exchanges[0].body) == 30_000_000
        assert not held.done()
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held


async def test_log_continues_in_another_request_after_an_early_2xx(build: Build) -> None:
    async with Receiver(answering_early(200, after_bytes=2), answering(200)) as receiver:
        forwarding = build.forward(receiver.url)
        build.log.append(b"a\n")
        first = await receiver.exchange(0)
        await first.until(lambda: first.broken)
        assert (bytes(first.body), first.ended) == (b"a\n", False)
        assert len(receiver.exchanges) == 1
        build.log.append(b"b\n")
        second = await receiver.exchange(1)
        build.end()
        await forwarding
        assert second.headers["Shuttle-Log-Offset"] == "2"
        assert (bytes(second.body), second.ended) == (b"b\n", True)
        assert build.ledger.details("acknowledged") == [2]
