"""An HTTP proxy before a real server that misbehaves on demand: refuses, hangs, cuts or loses responses."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from yarl import URL

from tests.support.serving import serving

HTML = "<!DOCTYPE html><html><body><h2>HTTP ERROR</h2></body></html>"
# Host is passed on unchanged: S3's signature includes it, and Jenkins' links depend on it.
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class FaultyProxy:
    """`fault` is called for every request; None = pass it on. A fault is a status (with `page`), or one of these words.

    garbage: 200 with HTML; reset: the connection is reset; hang: no response until `stop_faults`; lose: passed on, but
    the response is lost; mute: passed on, but no response until `stop_faults`; stall: passed on, but only half of the
    body until `stop_faults`; cut: passed on, but the body is cut in the middle; late: passed on at `stop_faults`, and
    the response is lost; again: passed on now, and again at `stop_faults`.
    """

    target: str
    url: str = ""
    page: str = HTML
    fault: Callable[[web.Request], int | str | None] = lambda _request: None
    hits: list[tuple[str, int | str]] = field(default_factory=list)
    hit: asyncio.Condition = field(default_factory=asyncio.Condition)
    calmed: asyncio.Event = field(default_factory=asyncio.Event)
    late: list[asyncio.Task[None]] = field(default_factory=list)

    def stop_faults(self) -> None:
        """Stop all faults; requests that hang continue."""
        self.fault = lambda _request: None
        self.calmed.set()

    async def until_hits(self, count: int, seconds: float = 20) -> None:
        """Wait until `count` faults have happened."""
        await self.until(lambda: len(self.hits) >= count, seconds)

    async def until(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Wait until the condition holds; it is evaluated after every fault."""
        async with asyncio.timeout(seconds), self.hit:
            await self.hit.wait_for(condition)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        fault = self.fault(request)
        if fault is None:
            return await self._pass_on(request)
        if fault == "mute":
            await self._answer_to(request)
        async with self.hit:
            self.hits.append((request.path, fault))
            self.hit.notify_all()
        if isinstance(fault, int):
            return web.Response(status=fault, text=self.page, content_type="text/html")
        if fault == "garbage":
            return web.Response(text=HTML, content_type="text/html")
        if fault in {"hang", "mute"}:
            await self.calmed.wait()
            return _reset(request)
        if fault in {"late", "again"}:
            body = await request.read()
            self.late.append(asyncio.create_task(self._pass_on_later(request, body)))
            return _reset(request) if fault == "late" else await self._pass_on(request)
        if fault == "lose":
            await self._answer_to(request)
            return _reset(request)
        if fault in {"cut", "stall"}:
            return await self._pass_first_half(request, stall=fault == "stall")
        return _reset(request)

    async def _pass_on_later(self, request: web.Request, body: bytes) -> None:
        await self.calmed.wait()
        await self._send(request, body)

    def _target_url(self, request: web.Request) -> URL:
        return URL(self.target + request.raw_path, encoded=True)

    async def _send(self, request: web.Request, body: bytes) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, self._target_url(request), data=body, headers=_headers(request.headers)
            ) as answer,
        ):
            await answer.read()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        status, headers, body = await self._answer_to(request)
        return web.Response(status=status, body=body, headers=headers)

    async def _pass_first_half(self, request: web.Request, *, stall: bool) -> web.StreamResponse:
        status, headers, body = await self._answer_to(request)
        if len(body) < 2:
            return web.Response(status=status, body=body, headers=headers)
        ours = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(body))})
        await ours.prepare(request)
        await ours.write(body[: len(body) // 2])
        if stall:
            await self.calmed.wait()
        return _reset(request)

    async def _answer_to(self, request: web.Request) -> tuple[int, dict[str, str], bytes]:
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                self._target_url(request),
                data=await request.read(),
                headers=_headers(request.headers),
                allow_redirects=False,
            ) as theirs,
        ):
            headers = _headers(theirs.headers)
            if request.method == "HEAD" and "Content-Length" in theirs.headers:  # the length of a body that is not sent
                headers["Content-Length"] = theirs.headers["Content-Length"]
            return theirs.status, headers, await theirs.read()


def _headers(headers: object) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP}  # type: ignore[attr-defined]


def _reset(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


@asynccontextmanager
async def faulty_proxy(target: str) -> AsyncIterator[FaultyProxy]:
    """A proxy before `target` (a URL without a slash at its end), on its own port."""
    proxy = FaultyProxy(target)
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    async with serving(app) as proxy.url:
        try:
            yield proxy
        finally:
            proxy.stop_faults()
            await asyncio.gather(*proxy.late)
