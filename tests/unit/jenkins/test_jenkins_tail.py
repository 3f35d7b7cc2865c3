"""progressiveText as a stream: whole or not at all, never twice, never in memory."""

import time

import pytest
from aiohttp import web

from shuttle.errors import JenkinsUnavailableError
from tests.unit.jenkins.fake_jenkins import answers, answers_log, cut_off


async def read(client, start=0):
    async with client.log("app", 3, start) as response:
        text = b"".join([chunk async for chunk in response.chunks])
        return text, response.next_start, response.more


async def test_the_next_start_is_the_header_not_the_length(fake, connect):
    fake.on("GET", "/job/app/3/logText/progressiveText", answers_log(b"a line\r\n", 3288, more=True))
    assert await read(connect()) == (b"a line\r\n", 3288, True)
    [seen] = fake.seen
    assert seen.path_qs == "/job/app/3/logText/progressiveText?start=0"
    assert seen.headers["Accept-Encoding"] == "identity"


async def test_more_data_absent_is_the_end(fake, connect):
    fake.on("GET", "/", answers_log(b"Finished: SUCCESS\r\n", 5009, more=False))
    assert await read(connect(), 4990) == (b"Finished: SUCCESS\r\n", 5009, False)


async def test_nothing_new_is_an_empty_answer_at_the_same_place(fake, connect):
    fake.on("GET", "/", answers_log(b"", 3288, more=True))
    assert await read(connect(), 3288) == (b"", 3288, True)


async def test_a_log_that_is_not_there_yet_is_an_empty_answer(fake, connect):
    fake.on("GET", "/", answers_log(b"", 0, more=True))
    assert await read(connect()) == (b"", 0, True)


async def test_a_running_log_that_shrank_is_unknown(fake, connect):
    fake.on("GET", "/", answers_log(b"the whole log again\r\n", 3288, more=True))
    with pytest.raises(JenkinsUnavailableError, match="shorter"):
        await read(connect(), 999_999)


async def test_a_finished_log_that_shrank_ends_and_repeats_nothing(fake, connect):
    fake.on("GET", "/", answers_log(b"the whole log again\r\n", 5009, more=False))
    assert await read(connect(), 6009) == (b"", 6009, False)


@pytest.mark.parametrize("headers", [{}, {"Content-Length": "1000"}], ids=["chunked", "with a length"])
async def test_a_cut_body_is_unknown(fake, connect, headers):
    fake.on("GET", "/", cut_off({"X-Text-Size": "1000", **headers}, b"half a li"))
    with pytest.raises(JenkinsUnavailableError, match="cut off"):
        await read(connect())


async def test_a_body_without_length_could_be_cut_unseen_and_is_refused(fake, connect):
    async def old_proxy(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 200 OK\r\nX-Text-Size: 9\r\nConnection: close\r\n\r\nhalf a li")
        request.transport.close()
        return web.Response()

    fake.on("GET", "/", old_proxy)
    with pytest.raises(JenkinsUnavailableError, match="length"):
        await read(connect())


@pytest.mark.parametrize("size", ["", "-5", "many", "٣", "9" * 19, "9" * 5000])
async def test_a_log_without_a_size_is_not_jenkins(fake, connect, size):
    fake.on("GET", "/", answers(200, b"text", **({"X-Text-Size": size.encode().decode("latin-1")} if size else {})))
    with pytest.raises(JenkinsUnavailableError, match="X-Text-Size"):
        await read(connect())


async def test_a_silent_body_is_given_up(fake, connect):
    async def stalls(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"X-Text-Size": "1000", "Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half a li")
        await fake.released.wait()
        return response

    fake.on("GET", "/", stalls)
    with pytest.raises(JenkinsUnavailableError, match="in time"):
        await read(connect(log_idle_timeout_seconds=0.05))


async def test_a_reader_that_leaves_early_leaves_the_client_usable(fake, connect):
    fake.on("GET", "/", answers_log(b"x" * 3_000_000, 3_000_000, more=False), answers_log(b"y", 3_000_001, more=False))
    client = connect()
    async with client.log("app", 3, 0) as response:
        await anext(aiter(response.chunks))
    assert await read(client, 3_000_000) == (b"y", 3_000_001, False)


async def test_a_long_chunked_log_streams_and_never_piles_up(fake, connect):
    size, sent = 200_000_000, 0

    async def long_log(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"X-Text-Size": str(size)})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for _ in range(size // 1_000_000):
            await response.write(b"z" * 1_000_000)
            sent += 1_000_000
        return response

    fake.on("GET", "/", long_log)
    began, received, most_ahead = time.perf_counter(), 0, 0
    async with connect().log("app", 3, 0) as response:
        async for chunk in response.chunks:
            received += len(chunk)
            most_ahead = max(most_ahead, sent - received)
    assert received == response.next_start == size
    assert most_ahead < 20_000_000, "sockets and buffers hold some, nobody holds the log"
    print(f"{size / 1e6 / (time.perf_counter() - began):.0f} MB/s, server and client in one process")
