"""Fixtures that fetch and normalize sources."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shuttle.errors import BuildFailedError
from shuttle.outgoing.connector import AddressPolicy, outgoing_session
from shuttle.sources import SourceLimits
from shuttle.sources.archive import normalize
from shuttle.sources.http import HttpFetcher
from shuttle.sources.kinds.http import HttpSource
from tests.support.archives import SMALL_LIMITS
from tests.support.git_server import GitServer, Work, git_server

SMALL_SOURCES = SourceLimits(max_source_bytes=3_000_000, max_expanded_bytes=1)


@pytest.fixture
def normalized(tmp_path):
    """A function that normalizes an archive, given as bytes, and returns the path of the result."""

    async def normalize_bytes(original, limits=SMALL_LIMITS):
        path = tmp_path / "original"
        path.write_bytes(original)
        result = tmp_path / "normalized.tar.gz"
        try:
            await normalize(path, result, limits)
        except BuildFailedError:
            assert {file.name for file in tmp_path.iterdir()} == {"original"}
            raise
        return result

    return normalize_bytes


@pytest.fixture
def refusal(normalized):
    """A function that normalizes an archive that is refused, and returns the reason."""

    async def reason_of(original, **options):
        with pytest.raises(BuildFailedError) as caught:
            await normalized(original, **options)
        assert caught.value.message.endswith(".")
        return caught.value.reason

    return reason_of


class Host:
    """A web server that records its requests; `answer` returns the response to each."""

    def __init__(self):
        self.requests = []
        self.answer = lambda _: web.Response(status=404)
        self.url = ""

    async def handle(self, request):
        self.requests.append(request)
        answer = self.answer(request)
        return await answer if asyncio.iscoroutine(answer) else answer


@pytest.fixture
async def start_host():
    """A function that starts a host with an origin of its own."""
    servers = []

    async def start():
        host = Host()
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", host.handle)
        server = TestServer(app, host="127.0.0.1")
        await server.start_server()
        servers.append(server)
        host.url = f"http://127.0.0.1:{server.port}"
        return host

    yield start
    for server in servers:
        await server.close()


@pytest.fixture
async def host(start_host):
    return await start_host()


@pytest.fixture
async def fetch(tmp_path):
    """A function that fetches a URL of this machine, and returns the source and its bytes."""
    async with outgoing_session(AddressPolicy(allow_loopback=True)) as session:
        fetcher = HttpFetcher(session, stall_seconds=0.3)

        async def fetch_url(url, headers=None):
            source = await fetcher.fetch(HttpSource(url=url, headers=headers or {}), tmp_path / "source", SMALL_SOURCES)
            return source, source.path.read_bytes()

        yield fetch_url


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GitServer]:
    (tmp_path / "served").mkdir()
    async with git_server(tmp_path / "served") as running:
        yield running


@pytest.fixture
def work(server: GitServer) -> Work:
    return server.repository()
