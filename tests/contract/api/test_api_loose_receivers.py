"""Receivers whose responses break rules of HTTP but are accepted by curl: each request is sent once."""

import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import pytest

from tests.support.inprocess import Shuttle
from tests.support.receivers import Exchange, Receiver

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANSWERS = {
    "204 with an empty chunked body": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "204 with two bytes": b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
    "a length beside chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nok\r\n0\r\n\r\n",
    "the length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "the length in a list": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "200 headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 199 + b"Content-Length: 2\r\n\r\nok",
    "a reason of 9 kB": b"HTTP/1.1 200 " + b"r" * 9000 + b"\r\nContent-Length: 2\r\n\r\nok",
    "a header of 9 kB": b"HTTP/1.1 200 OK\r\nContent-Security-Policy: "
    + b"x" * 9000
    + b"\r\nContent-Length: 2\r\n\r\nok",
    "two different lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "an invalid chunk size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n",
}


def answering_raw(answer: bytes) -> Callable[[Exchange], Awaitable[None]]:
    """A script that reads the whole request, responds with these bytes, and closes."""

    async def script(exchange: Exchange) -> None:
        await exchange.read_all()
        if exchange.ended:
            exchange._writer.write(answer)
            await exchange._writer.drain()
            exchange.answered = True
        exchange.hang_up()

    return script


def four_are_answered(receiver: Receiver) -> bool:
    return sum(exchange.answered for exchange in receiver.exchanges) >= 4


@pytest.mark.slow
async def test_statuses_and_log_are_sent_once_to_receivers_that_break_http_rules(shuttle: Shuttle, app: str):
    async with AsyncExitStack() as stack:
        receivers = {
            how: await stack.enter_async_context(Receiver(answering_raw(answer))) for how, answer in ANSWERS.items()
        }
        urls = [receiver.url for receiver in receivers.values()]
        hooks = {"status": [f"{url}/s" for url in urls], "logs": [f"{url}/l" for url in urls]}
        await shuttle.submit(f"/{app}/1", "echo a log", webhooks=hooks)
        build = await shuttle.until(f"/{app}/1")
        assert build["state"] == "succeeded"
        whole = await shuttle.whole_log(f"/{app}/1")
        for how, receiver in receivers.items():
            await receiver.until(partial(four_are_answered, receiver))
            exchanges = receiver.exchanges
            statuses = [json.loads(exchange.body)["status"] for exchange in exchanges if exchange.target == "/s"]
            assert statuses == ["queued", "pending", "succeeded"], how
            [log] = [exchange for exchange in exchanges if exchange.target == "/l"]
            assert bytes(log.body) == whole, how
