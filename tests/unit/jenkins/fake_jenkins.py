"""An HTTP server on 127.0.0.1 with faults that a test chooses; it records its requests."""

import asyncio
import json
import re
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]
HEALTHY = {"X-Jenkins": "2.263.4"}
ERROR_PAGE = b"<html><head><title>Error</title></head><body>Oops!</body></html>"


class Clock:
    """A clock that a test sets."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@dataclass(frozen=True)
class Seen:
    method: str
    path_qs: str
    headers: Mapping[str, str]
    body: bytes


class FakeJenkins:
    """`on("GET", "/job/x/api/json", first, second)`: the last behaviour is repeated. Other paths get a 404 page."""

    def __init__(self, ssl_context: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.released = asyncio.Event()
        self._arrivals = asyncio.Condition()
        self._rules: list[tuple[str, re.Pattern[str], deque[Behaviour]]] = []
        self._ssl_context = ssl_context
        self.on("GET", r"/api/json\?tree=quietingDown", answers_json({"quietingDown": False}))

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._ssl_context)
        await site.start()
        self.host_port = "{}:{}".format(*self._runner.addresses[0][:2])
        self.url = f"{'https' if self._ssl_context else 'http'}://{self.host_port}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.released.set()
        await self._runner.cleanup()

    def on(self, method: str, path: str, *behaviours: Behaviour) -> None:
        self._rules.insert(0, (method, re.compile(path), deque(behaviours)))

    def asked(self, method: str, path: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.method == method and re.match(path, seen.path_qs)]

    async def was_asked(self, method: str, path: str, times: int = 1) -> None:
        async with self._arrivals:
            await self._arrivals.wait_for(lambda: len(self.asked(method, path)) >= times)

    async def hang(self, request: web.Request) -> web.StreamResponse:
        await self.released.wait()
        return web.Response(status=503)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        async with self._arrivals:
            self.seen.append(Seen(request.method, request.path_qs, request.headers, body))
            self._arrivals.notify_all()
        for method, path, behaviours in self._rules:
            if method == request.method and path.match(request.raw_path):
                behaviour = behaviours.popleft() if len(behaviours) > 1 else behaviours[0]
                return await behaviour(request)
        return web.Response(status=404, body=ERROR_PAGE, content_type="text/html")


def answers(status: int, body: bytes = b"", **headers: str) -> Behaviour:
    async def behave(request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers={"Content-Type": "text/html"} | named)

    return behave


def answers_json(value: Any) -> Behaviour:
    return answers(200, json.dumps(value).encode(), **{"X-Jenkins": "2.263.4", "Content-Type": "application/json"})


async def resets(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def garbles(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    request.transport.close()
    return web.Response()


def cut_off(headers: Mapping[str, str], body: bytes) -> Behaviour:
    """Sends headers and a part of the body, then breaks the connection."""

    async def behave(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        if "Content-Length" not in headers:
            response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(body)
        assert request.transport is not None
        request.transport.close()
        return response

    return behave
