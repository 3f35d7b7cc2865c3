"""A bench Jenkins: answers what a follower asks, for any number of builds, and costs next to nothing itself."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import aiohttp
from aiohttp import web


class FlowingLog(Protocol):
    """The text of one build as it is visible now."""

    def size_bytes(self) -> int:
        """How much there is."""

    def done(self) -> bool:
        """Nothing will be added."""

    def read(self, start: int, end: int) -> bytes:
        """The text between two offsets."""


class BenchJenkins:
    """One job a build, each with number 1; `log_of` gives a build its text once it is triggered."""

    def __init__(self) -> None:
        self.forms: dict[str, dict[str, str]] = {}
        self.logs: dict[str, FlowingLog] = {}
        self.items: dict[int, str] = {}
        self.polls: Counter[str] = Counter()
        self.triggered = asyncio.Condition()

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application()
        app.router.add_get("/job/{job}/api/json", self._missing)
        app.router.add_post("/createItem", self._ok)
        app.router.add_post("/job/{job}/buildWithParameters", self._trigger)
        app.router.add_get("/queue/api/json", self._queue)
        app.router.add_get("/queue/item/{item}/api/json", self._item)
        app.router.add_get("/job/{job}/1/api/json", self._build)
        app.router.add_get("/job/{job}/1/logText/progressiveText", self._log)
        app.router.add_get("/api/json", self._root)
        return app

    async def _ok(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def _root(self, _request: web.Request) -> web.Response:
        return web.json_response({"jobs": []}, headers={"X-Jenkins": "2.0"})

    async def _missing(self, _request: web.Request) -> web.Response:
        return web.Response(status=404, text="<html></html>", content_type="text/html")

    async def _trigger(self, request: web.Request) -> web.Response:
        job = request.match_info["job"]
        item = len(self.items) + 1
        self.items[item] = job
        async with self.triggered:
            self.forms[job] = {name: str(value) for name, value in (await request.post()).items()}
            self.triggered.notify_all()
        return web.Response(status=201, headers={"Location": f"http://{request.host}/queue/item/{item}/"})

    async def _queue(self, _request: web.Request) -> web.Response:
        return web.json_response({"items": []})

    async def _item(self, request: web.Request) -> web.Response:
        item = int(request.match_info["item"])
        return web.json_response({"id": item, "why": None, "cancelled": False, "executable": {"number": 1}})

    async def _build(self, request: web.Request) -> web.Response:
        log = self.logs.get(request.match_info["job"])
        over = log is not None and log.done()
        return web.json_response(
            {"number": 1, "building": not over, "result": "SUCCESS" if over else None, "queueId": 1}
        )

    async def _log(self, request: web.Request) -> web.Response:
        job = request.match_info["job"]
        self.polls[job] += 1
        log = self.logs[job]
        over, size = log.done(), log.size_bytes()
        headers = {"X-Text-Size": str(size)} | ({} if over else {"X-More-Data": "true"})
        body = log.read(int(request.query["start"]), size)
        return web.Response(body=body, headers=headers, content_type="text/plain")

    async def claim(self, session: aiohttp.ClientSession, url: str, job: str) -> None:
        """As the pipeline's first step would."""
        form = self.forms[job]
        headers = {"Authorization": f"Bearer {form['SHUTTLE_TOKEN']}"}
        address = f"{url}/-/builds/{form['BUILD_UUID']}/claim"
        async with session.post(address, json={"number": 1}, headers=headers) as response:
            response.raise_for_status()


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """The app on a free port of loopback; gives its base URL."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
