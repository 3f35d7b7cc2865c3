"""Receivers that hang, reset, refuse or read byte by byte delay nothing else."""

import asyncio
import json
import time

import pytest

from tests.support.inprocess import Shuttle
from tests.support.receivers import Exchange, Receiver, answering, hanging, resetting

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Larger than the buffers of sockets, which accept bytes although nobody reads them.
TEXT = "yes 'a line of a log that nobody takes' | head -c 3000000"


async def one_byte_at_a_time(exchange: Exchange) -> None:
    """The slowest receiver that is still alive. With tiny buffers, the rest stays with the sender."""
    while await exchange._reader.read(1):
        await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_bad_receivers_of_one_build_do_not_delay_others(shuttle: Shuttle, app: str):
    started = time.monotonic()
    await shuttle.submit(f"/{app}-alone/1", TEXT)
    await shuttle.until(f"/{app}-alone/1")
    alone_seconds = time.monotonic() - started
    async with (
        Receiver(hanging) as hangs,
        Receiver(resetting()) as resets,
        Receiver(answering(500)) as refuses,
        Receiver(one_byte_at_a_time, buffer_bytes=4096) as slow,
        Receiver(answering(200)) as good,
    ):
        bad = [hangs, resets, refuses, slow]
        hooks = {
            "status": [f"{receiver.url}/s" for receiver in (hangs, resets, refuses)],
            "logs": [f"{receiver.url}/l" for receiver in bad] + ["http://127.0.0.1:9/", "http://10.0.0.0.1/"],
        }
        for number in range(4):
            await shuttle.submit(f"/{app}-bad-{number}/1", TEXT, webhooks=hooks)
        healthy = {"status": f"{good.url}/s", "logs": f"{good.url}/l"}
        started = time.monotonic()
        await shuttle.submit(f"/{app}/1", TEXT, webhooks=healthy)
        build = await shuttle.until(f"/{app}/1")
        seconds = time.monotonic() - started
        assert build["state"] == "succeeded"
        # Five builds share the machine; a wait for a receiver's timeout would take much longer.
        assert seconds < 5 * alone_seconds + 3
        await good.until(lambda: sum(exchange.ended for exchange in good.exchanges) == 4)
        events = [json.loads(exchange.body) for exchange in good.exchanges if exchange.target == "/s"]
        assert [body["status"] for body in events] == ["queued", "pending", "succeeded"]
        [log] = [exchange for exchange in good.exchanges if exchange.target == "/l"]
        assert bytes(log.body) == await shuttle.whole_log(f"/{app}/1")
        for number in range(4):
            path = f"/{app}-bad-{number}/1"
            assert (await shuttle.until(path))["state"] == "succeeded"
            shown = await shuttle.build(path)
            assert all(sink["acked_offset"] == 0 and sink["state"] != "done" for sink in shown["sinks"])
            assert all(sink["lag_bytes"] == shown["log"]["bytes"] for sink in shown["sinks"])
            assert len(await shuttle.whole_log(path)) == shown["log"]["bytes"]


@pytest.mark.slow
async def test_responses_are_quick_despite_bad_receivers(shuttle: Shuttle, app: str):
    async with Receiver(hanging, buffer_bytes=4096) as hangs:
        hooks = {"status": f"{hangs.url}/s", "logs": f"{hangs.url}/l"}
        for number in range(6):
            await shuttle.submit(f"/{app}-{number}/1", TEXT, webhooks=hooks)
        await hangs.exchange(6)
        for number in range(10):
            async with asyncio.timeout(5):
                await shuttle.submit(f"/{app}/{number}")
                assert (await shuttle.get("/healthz")).status == 200
                assert (await shuttle.delete(f"/{app}/{number}")).status in {200, 422}
        for number in range(6):
            assert (await shuttle.until(f"/{app}-{number}/1"))["state"] == "succeeded"


@pytest.mark.slow
async def test_receiver_that_was_down_gets_everything(shuttle: Shuttle, app: str):
    async with Receiver(resetting(after_bytes=10), answering(200)) as receiver:
        await shuttle.submit(f"/{app}/1", "echo one; echo two", webhooks={"logs": f"{receiver.url}/l"})
        await shuttle.until(f"/{app}/1")
        await receiver.until(lambda: len(receiver.exchanges) >= 2 and receiver.exchanges[-1].ended)
        last = receiver.exchanges[-1]
        assert last.headers["Shuttle-Log-Offset"] == "0"
        assert bytes(last.body) == await shuttle.whole_log(f"/{app}/1")
        assert {exchange.headers["Shuttle-App-Id"] for exchange in receiver.exchanges} == {app}
