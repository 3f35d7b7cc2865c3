"""Malformed responses that real servers and proxies send: the caller gets the status and the body."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp
import pytest

from shuttle.outgoing.connector import AddressPolicy, ConnectionUse, outgoing_session
from shuttle.outgoing.lenient_client import (
    RESPONSE_LIMITS,
    BrokenBodyError,
    LenientConnector,
    LenientResponseHandler,
    ResponseHeadTooLargeError,
)
from shuttle.outgoing.response_heads import MAX_HEAD_BYTES, MAX_HEADERS, MAX_LINE_BYTES
from tests.support.receivers import Exchange, Receiver, answering

HEADERS_200 = b"".join(b"X-%d: y\r\n" % number for number in range(200))
BODY = b"Content-Length: 2\r\n\r\nok"

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

RESPONSES_WITH_A_BODY = {
    "a length beside chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nok\r\n0\r\n\r\n",
    "chunks beside a length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\n"
    b"2\r\nok\r\n0\r\n\r\n",
    "chunked in two headers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: Chunked\r\n\r\n"
    b"2\r\nok\r\n0\r\n\r\n",
    "the length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nok",
    "the length in a list": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "a length with a plus": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\nContent-Length: 2\r\n\r\nok",
    "identity beside a length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n" + BODY,
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "200 headers": b"HTTP/1.1 200 OK\r\n" + HEADERS_200 + BODY,
    "as many headers as may be": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (MAX_HEADERS - 1) + BODY,
    "a long reason": b"HTTP/1.1 200 " + b"r" * 9000 + b"\r\n" + BODY,
    "no reason": b"HTTP/1.1 200\r\n" + BODY,
    "a long header": b"HTTP/1.1 200 OK\r\nContent-Security-Policy: " + b"x" * 9000 + b"\r\n" + BODY,
    "a header as long as may be": b"HTTP/1.1 200 OK\r\nX: " + b"x" * (MAX_LINE_BYTES - 3) + b"\r\n" + BODY,
    "a name as long as may be": b"HTTP/1.1 200 OK\r\n" + b"x" * (MAX_LINE_BYTES - 3) + b": y\r\n" + BODY,
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "a folded header": b"HTTP/1.1 200 OK\r\nX-Long: a\r\n b\r\nContent-Length:\r\n 2\r\n\r\nok",
    "a line without a colon": b"HTTP/1.1 200 OK\r\nnonsense\r\n" + BODY,
    "an unusable name": b"HTTP/1.1 200 OK\r\nX Y(z): 1\r\n" + BODY,
    "a NUL in a value": b"HTTP/1.1 200 OK\r\nX: a\x00b\x07\r\n" + BODY,
    "Latin-1 in a value": b"HTTP/1.1 200 D\xe9j\xe0\r\nX: \xe9\r\n" + BODY,
    "empty lines first": b"\r\n\r\nHTTP/1.1 200 OK\r\n" + BODY,
    "an interim response first": b"HTTP/1.1 103 Early\r\nContent-Length : 9\r\n\r\nHTTP/1.1 200 OK\r\n" + BODY,
    "two spaces in the status line": b"HTTP/1.1  200  OK\r\n" + BODY,
    "another version": b"HTTP/2 200\r\n" + BODY,
    "bytes behind its end": b"HTTP/1.1 200 OK\r\n" + BODY + b"excess",
    "another response behind its end": b"HTTP/1.1 200 OK\r\n" + BODY + b"HTTP/1.1 500 No\r\n\r\n",
    "chunks that end in line feeds": CHUNKED + b"1\no\n1\nk\n0\n\n",
    "only a chunk's length ends in a line feed": CHUNKED + b"2\nok\r\n0\r\n\r\n",
    "only a chunk's bytes end in a line feed": CHUNKED + b"1\r\no\n1\r\nk\n0\r\n\r\n",
    "only the last chunk ends in line feeds": CHUNKED + b"2\r\nok\r\n0\n\n",
    "two returns behind a chunk's length": CHUNKED + b"2\r\r\nok\r\n0\r\n\r\n",
    "blanks behind a chunk's length": CHUNKED + b"2 \t \r\nok\r\n0  \r\n\r\n",
    "zeros before a chunk's length": CHUNKED + b"0000000000000002\r\nok\r\n0000\r\n\r\n",
    "a chunk's extension with blanks": CHUNKED + b'2 ; a = "x y"; \xe9\r\nok\r\n0;z\r\n\r\n',
    "as much between chunks as may be": CHUNKED + b"2;" + b"x" * (MAX_HEAD_BYTES - 3) + b"\r\nok\r\n0\r\n\r\n",
    "a long extension": CHUNKED + b"2;" + b"x" * 9000 + b"\nok\n0\n\n",
    "headers behind the chunks": CHUNKED + b"2\r\nok\r\n0\r\nContent-Length: 9\r\nConnection: close\r\n\r\n",
    "loose headers behind the chunks": CHUNKED + b"2\nok\n0\nX A : b\nnonsense\n" + b"Y: y\n" * 300 + b"\n",
    "bytes behind the chunks": CHUNKED + b"2\r\nok\r\n0\r\n\r\nexcess",
    "identity without a length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
    "an empty reason": b"HTTP/1.1 200 \r\n" + BODY,
    "several interim responses first": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Wait\r\nX: y\r\n\r\n" * 3
    + b"HTTP/1.1 200 OK\r\n"
    + BODY,
    "a connection that is kept and closed": b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: x\r\n" + BODY,
    "an offer of another protocol": b"HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n" + BODY,
    "another encoding than it says": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, x-none\r\n" + BODY,
    "odd cookies, type and date": b"HTTP/1.1 200 OK\r\nSet-Cookie: ;;=\x01, a[b]=c; Expires=never\r\n"
    b"Content-Type: ;charset=klingon\r\nDate: now\r\nConnection: ,,x\r\n" + BODY,
    "neither length nor chunks": b"HTTP/1.0 200 OK\r\n\r\nok",
}

RESPONSES_WITHOUT_A_BODY = {
    "204 with an empty chunked body": b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "204 with two bytes": b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
    "204 with two bytes that no header names": b"HTTP/1.1 204 No Content\r\n\r\nok",
    "204 with a length of zero": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
}

RESPONSES_WITH_A_BROKEN_BODY = {
    "two different lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "a length that is no number": b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
    "a chunk that is none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n",
    "a chunk without its end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokokok\r\n0\r\n\r\n",
    "a chunk with a sign": CHUNKED + b"+2\r\nok\r\n0\r\n\r\n",
    "a chunk in C's notation": CHUNKED + b"0x2\r\nok\r\n0\r\n\r\n",
    "a chunk longer than anything": CHUNKED + b"1" * 17 + b"\r\nok\r\n0\r\n\r\n",
    "a chunk without a length": CHUNKED + b";x\r\nok\r\n0\r\n\r\n",
    "too much between chunks": CHUNKED + b"2;" + b"x" * (MAX_HEAD_BYTES - 2) + b"\r\nok\r\n0\r\n\r\n",
    "too many headers behind the chunks": CHUNKED + b"2\r\nok\r\n0\r\n" + b"X: y\r\n" * 300_000 + b"\r\n",
    "chunks that end in line feeds, cut": CHUNKED + b"2\nok\n",
    "chunks without the last line": CHUNKED + b"2\r\nok\r\n0\r\n",
    "cut behind the status line": b"HTTP/1.1 200 OK\r\n",
    "cut within a header": b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Le",
    "cut behind a length": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
    "too short": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
}

RESPONSES_ABOVE_THE_LIMITS = {
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * MAX_HEADERS + BODY,
    "too long a header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * (MAX_LINE_BYTES - 2) + b"\r\n" + BODY,
    "too long a folded header": b"HTTP/1.1 200 OK\r\nX: y\r\n" + (b" " + b"x" * 40_000 + b"\r\n") * 2 + BODY,
    "too long a reason": b"HTTP/1.1 200 " + b"r" * MAX_LINE_BYTES + b"\r\n" + BODY,
    "too large a head": b"HTTP/1.1 200 OK\r\n" + (b"X: " + b"x" * 60_000 + b"\r\n") * 20 + BODY,
    "a head without end": b"HTTP/1.1 200 OK\r\n" + (b"X: " + b"x" * 60_000 + b"\r\n") * 20,
    "a header without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
}


def sending(*pieces: bytes) -> Callable[[Exchange], Awaitable[None]]:
    """A receiver's script that reads the request, sends the pieces one after another, and closes the connection."""

    async def script(exchange: Exchange) -> None:
        await exchange.read_all()
        for piece in pieces:
            exchange._writer.write(piece)
            with suppress(ConnectionError):
                await exchange._writer.drain()
        exchange.hang_up()

    return script


@asynccontextmanager
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with outgoing_session(AddressPolicy(allow_loopback=True)) as session:
        yield session


async def post_to_server_sending(*pieces: bytes) -> tuple[int, bytes]:
    """Status and body as a client receives them from a server that responds with `pieces`."""
    async with (
        asyncio.timeout(10),
        Receiver(sending(*pieces)) as receiver,
        client() as session,
        session.post(receiver.url, data=b"x") as response,
    ):
        return response.status, await response.read()


@pytest.mark.parametrize("how", RESPONSES_WITH_A_BODY)
async def test_malformed_response_is_received_with_its_body(how: str) -> None:
    assert await post_to_server_sending(RESPONSES_WITH_A_BODY[how]) == (200, b"ok")


@pytest.mark.parametrize("how", RESPONSES_WITH_A_BODY)
async def test_malformed_response_is_received_in_pieces_of_any_size(how: str) -> None:
    sent = RESPONSES_WITH_A_BODY[how]
    for size in (1, 7) if len(sent) < 4000 else (4001,):
        handler = LenientResponseHandler(asyncio.get_running_loop())
        handler.set_response_params(read_until_eof=True, **RESPONSE_LIMITS)
        for at in range(0, len(sent), size):
            handler.data_received(sent[at : at + size])
        handler.connection_lost(None)
        messages = [await handler.read() for _ in range(len(handler))]
        message, payload = messages[-1]
        assert (message.code, await payload.read()) == (200, b"ok")


@pytest.mark.parametrize("how", RESPONSES_WITHOUT_A_BODY)
async def test_status_204_is_received_whatever_follows_it(how: str) -> None:
    assert await post_to_server_sending(RESPONSES_WITHOUT_A_BODY[how]) == (204, b"")


@pytest.mark.parametrize("how", RESPONSES_WITH_A_BROKEN_BODY)
async def test_status_of_a_response_with_an_invalid_body_is_received(how: str) -> None:
    async with (
        asyncio.timeout(10),
        Receiver(sending(RESPONSES_WITH_A_BROKEN_BODY[how])) as receiver,
        client() as session,
        session.post(receiver.url, data=b"x") as response,
    ):
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_invalid_chunk_after_a_valid_one_raises_in_the_reader_of_the_body() -> None:
    handler = LenientResponseHandler(asyncio.get_running_loop())
    handler.set_response_params(**RESPONSE_LIMITS)
    handler.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive!\r\n")
    _, payload = await handler.read()
    assert await payload.readany() == b"five!"
    handler.data_received(b"zz\r\n")
    with pytest.raises(BrokenBodyError):
        await payload.readany()


@pytest.mark.parametrize("how", RESPONSES_ABOVE_THE_LIMITS)
async def test_head_above_the_limits_raises_its_own_error(how: str) -> None:
    with pytest.raises(ResponseHeadTooLargeError):
        await post_to_server_sending(RESPONSES_ABOVE_THE_LIMITS[how])


@pytest.mark.parametrize("sent", [b"HTTP/1.1 200 O", b"HTTP/1.1 103 Early\r\nLink: x\r\n", b""])
async def test_connection_that_ends_before_the_status_line_is_a_disconnect(sent: bytes) -> None:
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await post_to_server_sending(sent)


@pytest.mark.parametrize("sent", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"HTTP/1.1 20\r\n\r\n", b"\x16\x03\x01" * 30_000])
async def test_response_that_is_not_http_is_an_error(sent: bytes) -> None:
    with pytest.raises(aiohttp.ClientError):
        await post_to_server_sending(sent)


async def test_stray_bytes_after_a_response_are_not_read_as_the_next_response() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.read_all()
        exchange._writer.write(b"HTTP/1.1 200 OK\r\n" + BODY)
        await exchange._writer.drain()
        await exchange.until(first_is_read.is_set)
        exchange._writer.write(b"HTTP/1.1 500 Stray\r\nContent-Length: 0\r\n\r\n")
        await exchange._writer.drain()
        await exchange.read_head()
        exchange.answered = True

    first_is_read = asyncio.Event()
    async with Receiver(script, sending(b"HTTP/1.1 200 OK\r\n" + BODY)) as receiver, client() as session:
        async with session.post(receiver.url, data=b"x") as response:
            assert await response.read() == b"ok"
        connection = next(iter(session.connector._conns.values()))[0][0]
        first_is_read.set()
        receiver.exchanges[0]._changes.notify()
        closed = connection.closed
        assert closed is not None
        await closed
        async with session.post(receiver.url, data=b"x") as response:
            assert response.status == 200


@pytest.mark.parametrize(("status", "body"), [(204, b""), (200, b""), (200, b"ok"), (200, b"x" * 500_000)])
async def test_connection_is_reused_after_valid_responses(status: int, body: bytes) -> None:
    async with Receiver(answering(status, body=body)) as receiver, client() as session:
        uses = [ConnectionUse() for _ in range(3)]
        for use in uses:
            async with session.post(receiver.url, data=b"x", trace_request_ctx=use) as response:
                assert (response.status, await response.read()) == (status, body)
        assert [use.reused for use in uses] == [False, True, True]


def test_aiohttp_connector_still_has_its_private_protocol_factory() -> None:
    assert "_factory" in vars(_connector())


def _connector() -> LenientConnector:
    loop = asyncio.new_event_loop()
    try:
        return LenientConnector(loop=loop)
    finally:
        loop.close()


@pytest.mark.parametrize("how", ["the write fails", "the connection is lost"])
async def test_response_received_before_the_connection_broke_is_used(how: str) -> None:
    """A server responds 413 in the middle of a request and closes: the write may fail before the response is read."""
    ours, theirs = socket.socketpair()
    with theirs:
        transport, handler = await asyncio.get_running_loop().create_connection(
            lambda: LenientResponseHandler(asyncio.get_running_loop()), sock=ours
        )
        handler.set_response_params(**RESPONSE_LIMITS)
        theirs.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        if how == "the write fails":
            handler.set_exception(aiohttp.ClientConnectionResetError("Cannot write to closing transport"))
        else:
            handler.connection_lost(ConnectionResetError())
        message, _ = await handler.read()
        assert message.code == 413
        transport.abort()


async def test_connection_that_breaks_without_a_response_is_an_error() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        transport, handler = await asyncio.get_running_loop().create_connection(
            lambda: LenientResponseHandler(asyncio.get_running_loop()), sock=ours
        )
        handler.set_response_params(**RESPONSE_LIMITS)
        handler.set_exception(aiohttp.ClientConnectionResetError("Cannot write to closing transport"))
        with pytest.raises(aiohttp.ClientConnectionResetError):
            await handler.read()
        transport.abort()
