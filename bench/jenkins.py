"""A cheap Jenkins for benchmarks: it answers the shuttle's requests for any number of builds."""

import asyncio
from collections import Counter

from aiohttp import web


class BenchJenkins:
    """Has one job for each build; this build has the number 1 and runs until `over` contains the job.

    `forms` has the parameters of each build by its uuid, and its job as `JOB`; `asked` counts requests by kind.
    """

    def __init__(self) -> None:
        self.forms: dict[str, dict[str, str]] = {}
        self.over: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.triggered = asyncio.Condition()
        self._items: dict[int, str] = {}

    def app(self) -> web.Application:
        """The routes."""
        app = web.Application(middlewares=[self._count])
        app.router.add_get("/job/{job}/api/json", self._missing, name="job")
        app.router.add_post("/createItem", self._ok, name="create")
        app.router.add_post("/job/{job}/buildWithParameters", self._trigger, name="trigger")
        app.router.add_get("/queue/api/json", self._queue, name="queue")
        app.router.add_get("/queue/item/{item}/api/json", self._item, name="item")
        app.router.add_get("/job/{job}/1/api/json", self._build, name="build")
        app.router.add_get("/api/json", self._root, name="root")
        return app

    async def form_of(self, build_uuid: str) -> dict[str, str]:
        """Wait until the build is triggered, and return its parameters."""
        async with self.triggered:
            await self.triggered.wait_for(lambda: build_uuid in self.forms)
        return self.forms[build_uuid]

    @web.middleware
    async def _count(self, request: web.Request, handler: object) -> web.StreamResponse:
        self.asked[request.match_info.route.name or "unknown"] += 1
        answer: web.StreamResponse = await handler(request)  # type: ignore[operator]
        return answer

    async def _ok(self, _request: web.Request) -> web.Response:
        return web.Response()

    async def _root(self, _request: web.Request) -> web.Response:
        return web.json_response({"jobs": []}, headers={"X-Jenkins": "2.0"})

    async def _missing(self, _request: web.Request) -> web.Response:
        return web.Response(status=404, text="<html></html>", content_type="text/html")

    async def _trigger(self, request: web.Request) -> web.Response:
        job = request.match_info["job"]
        item = len(self._items) + 1
        self._items[item] = job
        form = {name: str(value) for name, value in (await request.post()).items()}
        async with self.triggered:
            self.forms[form["BUILD_UUID"]] = form | {"JOB": job}
            self.triggered.notify_all()
        return web.Response(status=201, headers={"Location": f"http://{request.host}/queue/item/{item}/"})

    async def _queue(self, _request: web.Request) -> web.Response:
        return web.json_response({"items": []})

    async def _item(self, request: web.Request) -> web.Response:
        item = int(request.match_info["item"])
        return web.json_response({"id": item, "why": None, "cancelled": False, "executable": {"number": 1}})

    async def _build(self, request: web.Request) -> web.Response:
        over = request.match_info["job"] in self.over
        return web.json_response(
            {"number": 1, "building": not over, "result": "SUCCESS" if over else None, "queueId": 1}
        )
