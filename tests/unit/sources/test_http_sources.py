"""http sources, fetched from real local servers, some of which misbehave."""

import asyncio
import gzip
import hashlib
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shuttle.errors import BuildFailedError, RetryLaterError, UnavailableError
from shuttle.outgoing.connector import AddressPolicy, outgoing_session
from shuttle.sources.http import HttpFetcher
from shuttle.sources.kinds.http import HttpSource
from tests.support.archives import SMALL_LIMITS
from tests.support.certificates import close_when_left, loopback_tls

CONTENT = bytes(range(256)) * 10_000  # more than two of the blocks that are written at once


@asynccontextmanager
async def raw_host(*pieces, then_wait=False):
    """A TCP server that responds with these bytes, then closes the connection or, with `then_wait`, sends nothing."""
    test_ended = asyncio.Event()

    conversations: set[asyncio.Task[None] | None] = set()

    async def serve(reader, writer):
        conversations.add(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
            await writer.drain()
            if then_wait:
                await test_ended.wait()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        test_ended.set()
        server.close()
        await server.wait_closed()
        await asyncio.gather(*filter(None, conversations))


async def test_source_is_fetched_with_size_digest_and_type(host, fetch):
    host.answer = lambda _: web.Response(body=CONTENT, content_type="application/gzip")
    source, content = await fetch(f"{host.url}/a.tar.gz")
    assert content == CONTENT
    assert source.size_bytes == len(CONTENT)
    assert source.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert source.content_type == "application/gzip"


async def test_empty_source_without_a_type_is_fetched(fetch):
    async with raw_host(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as url:
        source, content = await fetch(url)
    assert (content, source.size_bytes, source.content_type) == (b"", 0, "application/octet-stream")


async def test_encoded_file_is_stored_as_received(host, fetch):
    """`.tar.gz` served as `application/x-tar` with `Content-Encoding: gzip`: the checksum is that of the file."""
    packed = gzip.compress(b"a tar")
    host.answer = lambda _: web.Response(body=packed, headers={"Content-Encoding": "gzip"})
    _, content = await fetch(f"{host.url}/a.tar.gz")
    assert content == packed
    assert host.requests[0].headers["Accept-Encoding"] == "identity"


async def test_signed_url_is_sent_as_written(host, fetch):
    host.answer = lambda _: web.Response(body=b"x")
    await fetch(f"{host.url}/a%2Fb%7Ec/@d;e?sig=a%2Bb%3D%3d+c&empty=&x=%E4#fragment")
    assert host.requests[0].raw_path == "/a%2Fb%7Ec/@d;e?sig=a%2Bb%3D%3d+c&empty=&x=%E4"


async def test_url_outside_ascii_is_encoded(host, fetch):
    host.answer = lambda _: web.Response(body=b"x")
    await fetch(f"{host.url}/ä")
    assert host.requests[0].raw_path == "/%C3%A4"


async def test_refused_address_fails_the_build(tmp_path):
    async with outgoing_session(AddressPolicy(allow_loopback=False)) as session:
        for url in ("http://127.0.0.1:1/", "http://localhost:1/", "http://169.254.169.254/"):
            with pytest.raises(BuildFailedError, match="SHUTTLE_ALLOW_NETWORKS") as caught:
                await HttpFetcher(session).fetch(HttpSource(url=url), tmp_path / "source", SMALL_LIMITS)
            assert caught.value.reason == "source_refused"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, "source_not_found"),
        (410, "source_not_found"),
        (401, "source_refused"),
        (403, "source_refused"),
        (400, "source_failed"),
        (204, "source_failed"),
        (206, "source_failed"),
        (304, "source_failed"),
    ],
)
async def test_permanent_statuses_fail_the_build(host, fetch, status, reason):
    host.answer = lambda _: web.Response(status=status)
    with pytest.raises(BuildFailedError, match=str(status)) as caught:
        await fetch(host.url.replace("://", "://me:hunter22@") + "/a?signature=hunter22")
    assert caught.value.reason == reason
    assert "127.0.0.1" in caught.value.message
    assert "hunter22" not in caught.value.message


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 425, 429])
async def test_temporary_statuses_are_retried(host, fetch, status):
    host.answer = lambda _: web.Response(status=status)
    with pytest.raises(UnavailableError, match=str(status)) as caught:
        await fetch(host.url.replace("://", "://me:hunter22@") + "/a?signature=hunter22")
    assert "hunter22" not in caught.value.message


@pytest.mark.parametrize("status", [202, 403, 429, 503])
async def test_retry_after_is_reported(host, fetch, status):
    host.answer = lambda _: web.Response(status=status, headers={"Retry-After": "17"})
    with pytest.raises(RetryLaterError, match=str(status)) as caught:
        await fetch(host.url)
    assert caught.value.after_seconds == 17


@pytest.mark.parametrize(("status", "reason"), [(202, "source_failed"), (403, "source_refused")])
async def test_invalid_retry_after_is_ignored(host, fetch, status, reason):
    host.answer = lambda _: web.Response(status=status, headers={"Retry-After": "soon"})
    with pytest.raises(BuildFailedError) as caught:
        await fetch(host.url)
    assert caught.value.reason == reason


async def test_declared_size_above_the_limit_is_refused_without_reading(fetch):
    async with raw_host(b"HTTP/1.1 200 OK\r\nContent-Length: 3000001\r\n\r\n", then_wait=True) as url:
        with pytest.raises(BuildFailedError) as caught:
            await fetch(url)
    assert caught.value.reason == "source_too_large"


async def test_undeclared_size_above_the_limit_is_refused_while_reading(host, fetch):
    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(100_000))

    host.answer = endless
    with pytest.raises(BuildFailedError) as caught:
        await fetch(host.url)
    assert caught.value.reason == "source_too_large"


async def test_host_that_stops_sending_is_reported_as_stalled(fetch):
    async with raw_host(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive!", then_wait=True) as url:
        with pytest.raises(UnavailableError, match="stalled"):
            await fetch(url)


@pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"])
async def test_first_byte_may_take_longer_than_the_stall_timeout(fetch, beginning):
    """The host makes the archive first, which takes longer than the fixture's `stall_seconds` of 0.3 s."""
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlate!"
    archive_is_made = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(beginning)
        await archive_is_made.wait()
        writer.write(whole[len(beginning) :])
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        fetching = asyncio.create_task(fetch(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        ended, _ = await asyncio.wait([fetching], timeout=0.5)
        assert not ended
        archive_is_made.set()
        assert (await fetching)[1] == b"late!"


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive!",), "cut off"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive!\r\n",), "cut off"),
        ((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive!\r\nzz\r\n",), "valid HTTP"),
        ((b"",), "without an answer"),
        ((b"HTTP/1.1 200 OK\r\nContent-Le",), "cut off"),
        ((b"SSH-2.0-OpenSSH_9.2\r\n\r\n",), "HTTP"),
    ],
)
async def test_interrupted_response_is_retried(fetch, tmp_path, pieces, words):
    async with raw_host(*pieces) as url:
        with pytest.raises(UnavailableError, match=words):
            await fetch(url)
    assert not (tmp_path / "source").exists()


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 7\r\nContent-Length: 7",
        b"Content-Length: 7, 7",
        b"Content-Length : 7",
        b"Content-Length: 7\r\nContent-Security-Policy: " + b"x" * 9000,
        b"Content-Length: 7\r\n" + b"\r\n".join([b"X: y"] * 200),
    ],
)
async def test_source_with_a_malformed_head_is_fetched(fetch, head):
    async with raw_host(b"HTTP/1.1 200 " + b"r" * 9000 + b"\r\n" + head + b"\r\n\r\ncontent") as url:
        assert (await fetch(url))[1] == b"content"


async def test_redirect_with_a_long_location_is_followed(fetch):
    async with raw_host(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx") as there:
        location = f"{there}/?{'s' * 9000}".encode()
        async with raw_host(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n") as url:
            assert (await fetch(url))[1] == b"x"


async def test_refused_connection_and_unknown_name_are_retried(fetch):
    async with raw_host(b"") as url:
        pass
    with pytest.raises(UnavailableError, match="reached"):
        await fetch(url)
    with pytest.raises(UnavailableError, match="resolve") as caught:
        await fetch("http://no-such-host.invalid/a?signature=hunter22")
    assert "hunter22" not in caught.value.message


async def test_https_url_of_a_plain_http_host_is_retried(fetch):
    async with raw_host(b"HTTP/1.1 200 OK\r\n\r\n") as url:
        with pytest.raises(UnavailableError):
            await fetch(url.replace("http://", "https://"))


async def test_cancelled_fetch_leaves_no_file(host, fetch, tmp_path):
    reading = asyncio.Event()

    async def slow(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(bytes(2_000_000))
        reading.set()
        await asyncio.Event().wait()

    host.answer = slow
    task = asyncio.create_task(fetch(host.url))
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not (tmp_path / "source").exists()


async def test_https_host_is_trusted_only_with_the_ca_file(tmp_path):
    context, ca_file = loopback_tls(tmp_path)

    async def answer(_):
        return web.Response(body=b"x")

    app = web.Application()
    app.router.add_get("/", answer)
    server = TestServer(app, host="127.0.0.1", scheme="https")
    await server.start_server(ssl=context)
    url = str(server.make_url("/"))
    # The refused handshake comes first: during the other request, the server notices its end and closes its side.
    async with outgoing_session(AddressPolicy(allow_loopback=True)) as session:
        with pytest.raises(BuildFailedError, match="SHUTTLE_CA_FILE") as caught:
            await HttpFetcher(session).fetch(HttpSource(url=url), tmp_path / "source", SMALL_LIMITS)
    assert caught.value.reason == "source_untrusted"
    async with outgoing_session(AddressPolicy(allow_loopback=True), ca_file=ca_file) as session:
        assert (
            await HttpFetcher(session).fetch(HttpSource(url=url), tmp_path / "source", SMALL_LIMITS)
        ).size_bytes == 1
    await close_when_left(server)
