"""The http(s) sink at receivers that behave: one request, in time, whole, with its headers and its end."""

import asyncio
import base64
import json

import pytest

from tests.receivers import Receiver, answering, answering_early, hanging
from tests.unit.sinks.conftest import Build


async def test_one_request_is_held_open_and_ends_with_the_log(build: Build) -> None:
    async with Receiver() as receiver:
        carrying = build.carry(receiver.url)
        build.log.append(b"one\n")
        exchange = await receiver.exchange(0)
        await exchange.until(lambda: exchange.body == b"one\n")
        build.log.append(b"two\n")
        await exchange.until(lambda: exchange.body == b"one\ntwo\n")
        await build.ledger.until("live")
        assert not exchange.ended
        build.end()
        await carrying
        assert exchange.ended
        assert exchange.chunks == 2
        assert len(receiver.exchanges) == 1
        assert build.ledger.said == [("live", None), ("done", 8)]


async def test_nothing_is_opened_before_the_first_byte(build: Build) -> None:
    async with Receiver() as receiver:
        carrying = build.carry(receiver.url)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not receiver.exchanges
        build.log.append(b"first\n")
        assert (await receiver.exchange(0)).method == "POST"
        build.end()
        await carrying


async def test_an_empty_log_gets_its_end_too(build: Build) -> None:
    async with Receiver() as receiver:
        build.end()
        await build.carry(receiver.url)
        exchange = await receiver.exchange(0)
        assert (bytes(exchange.body), exchange.ended) == (b"", True)
        assert exchange.headers["Transfer-Encoding"] == "chunked"
        assert build.ledger.said == [("done", 0)]


async def test_the_headers_say_whose_log_it_is(build: Build) -> None:
    async with Receiver() as receiver:
        build.log.append(b"x\n")
        build.end()
        await build.carry(
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


async def test_metadata_above_4_kib_is_left_out_and_said_so(build: Build) -> None:
    async with Receiver() as receiver:
        build.end()
        await build.carry(receiver.url, metadata_json=json.dumps("x" * 4094))
        build.ledger.said.clear()
        await build.carry(receiver.url, metadata_json=json.dumps("x" * 4095))
        fitting, omitted = receiver.exchanges
        assert len(fitting.headers["Shuttle-Metadata"]) == 4096
        assert "Shuttle-Metadata-Omitted" not in fitting.headers
        assert "Shuttle-Metadata" not in omitted.headers
        assert omitted.headers["Shuttle-Metadata-Omitted"] == "true"


async def test_it_starts_where_the_receiver_acknowledged_before(build: Build) -> None:
    async with Receiver() as receiver:
        build.log.append(b"0123456789")
        build.end()
        await build.carry(receiver.url, acked_offset=4)
        exchange = await receiver.exchange(0)
        assert exchange.headers["Shuttle-Log-Offset"] == "4"
        assert exchange.body == b"456789"
        assert build.ledger.details("done") == [10]


async def test_what_is_acknowledged_already_still_gets_its_end(build: Build) -> None:
    async with Receiver() as receiver:
        build.log.append(b"0123456789")
        build.end()
        await build.carry(receiver.url, acked_offset=10)
        exchange = await receiver.exchange(0)
        assert exchange.headers["Shuttle-Log-Offset"] == "10"
        assert (bytes(exchange.body), exchange.ended) == (b"", True)


async def test_a_large_log_arrives_byte_for_byte(build: Build) -> None:
    text = b"".join(b"line %07d\n" % number for number in range(300_000))
    async with Receiver() as receiver:
        carrying = build.carry(receiver.url)
        for at in range(0, len(text), 100_001):
            build.log.append(text[at : at + 100_001])
            await asyncio.sleep(0)
        build.end()
        await carrying
        assert (await receiver.exchange(0)).body == text


async def test_cancelled_it_hangs_up_without_an_end(build: Build) -> None:
    async with Receiver() as receiver:
        carrying = build.carry(receiver.url)
        build.log.append(b"half of it\n")
        exchange = await receiver.exchange(0)
        await exchange.until(lambda: exchange.body)
        carrying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await carrying
        await exchange.until(lambda: exchange.broken)
        assert not exchange.ended
        assert not build.ledger.details("done")


async def test_cancelled_at_a_receiver_that_reads_nothing_it_leaves_no_connection(build: Build) -> None:
    async with Receiver(hanging, buffer_bytes=4096) as receiver:
        build.log.append(b"x" * 20_000_000)
        carrying = build.carry(receiver.url)
        await receiver.exchange(0)
        carrying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await carrying
        exchange = receiver.exchanges[0]
        await exchange.read_all()
        assert exchange.broken
        exchange.hang_up()


async def test_redirects_are_failures_and_not_followed(build: Build) -> None:
    async with Receiver() as other, Receiver(answering(307, {"Location": other.url}), answering(200)) as receiver:
        build.log.append(b"x\n")
        build.end()
        await build.carry(receiver.url)
        assert not other.exchanges
        assert build.ledger.details("failing") == [f"127.0.0.1:{receiver.port} answered 307."]


async def test_one_receiver_that_hangs_does_not_delay_another(build: Build) -> None:
    async with Receiver(hanging, buffer_bytes=4096) as slow, Receiver() as quick:
        build.log.append(b"y" * 30_000_000)
        held = build.carry(slow.url)
        await slow.exchange(0)
        carried = build.carry(quick.url)
        build.end()
        await carried
        assert len(quick.exchanges[0].body) == 30_000_000
        assert not held.done()
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held


async def test_an_early_answer_is_no_end_also_when_the_receiver_reads_on(build: Build) -> None:
    async with Receiver(answering_early(200, after_bytes=2), answering(200)) as receiver:
        carrying = build.carry(receiver.url)
        build.log.append(b"a\n")
        first = await receiver.exchange(0)
        await first.until(lambda: first.broken)
        assert (bytes(first.body), first.ended) == (b"a\n", False)
        assert len(receiver.exchanges) == 1
        build.log.append(b"b\n")
        second = await receiver.exchange(1)
        build.end()
        await carrying
        assert second.headers["Shuttle-Log-Offset"] == "2"
        assert (bytes(second.body), second.ended) == (b"b\n", True)
        assert build.ledger.details("acknowledged") == [2]
