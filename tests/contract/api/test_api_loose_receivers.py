"""Receivers whose responses break rules of HTTP but are accepted by curl: each request is sent once."""

import json
from collections.abc import Awaitable, Callable

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


@pytest.mark.parametrize("how", ANSWERS)
async def test_statuses_and_log_are_sent_once_to_a_receiver_that_breaks_http_rules(
    shuttle: Shuttle, app: str, how: str
):
    async with Receiver(answering_raw(ANSWERS[how])) as receiver:
        hooks = {"status": f"{receiver.url}/s", "logs": f"{receiver.url}/l"}
        await shuttle.submit(f"/{app}/1", "echo a log", webhooks=hooks)
        build = await shuttle.until(f"/{app}/1")
        assert build["state"] == "succeeded"
        await receiver.until(lambda: sum(exchange.answered for exchange in receiver.exchanges) >= 4)
        statuses = [json.loads(exchange.body)["status"] for exchange in receiver.exchanges if exchange.target == "/s"]
        assert statuses == ["queued", "pending", "succeeded"]
        [log] = [exchange for exchange in receiver.exchanges if exchange.target == "/l"]
        assert bytes(log.body) == await shuttle.whole_log(f"/{app}/1")
