"""The shuttle as the agent sees it: a real HTTP server with the five calls of a build, and faults on demand."""

import asyncio
import io
import tarfile
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any, Self

from aiohttp import web

from jenkins_pipelines.environment import AgentEnvironment, environment_archive

BUILD_UUID = "6f1b2c3d-0000-4000-8000-000000000001"
TOKEN = "token-of-this-build-0123456789"  # a made-up one that tests look for where it must not be


def source_archive(files: Mapping[str, bytes | str], *, executable: tuple[str, ...] = ("build.sh",)) -> bytes:
    """A tar.gz as the shuttle hands it out: flattened, ordinary modes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o755 if name in executable else 0o644
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


class Cut:
    """A fault: say how many bytes come, send only half of them, and hang up."""


class CutHeaders:
    """A fault: hang up after the status line and one header, as a proxy does that dies just then."""


class AgentApi:
    """Records claims (build numbers), reports (by id), artifacts (by name) and every call as (method, path, status).

    `faults[last part of the path]` is a queue of what the next calls get instead of the truth: a status, `Cut` or
    `CutHeaders`.
    """

    def __init__(self, environment: AgentEnvironment | None = None, source: bytes = b"") -> None:
        self.environment = environment or AgentEnvironment(app_id="app", build_id="1", build_uuid=BUILD_UUID)
        self.source = source
        self.token = TOKEN
        self.claim_status = 200
        self.claims: list[int] = []
        self.reports: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, bytes] = {}
        self.calls: list[tuple[str, str, int]] = []
        self.faults: defaultdict[str, deque[int | type[Cut] | type[CutHeaders]]] = defaultdict(deque)
        self.called = asyncio.Event()
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; after a `stop`, on the same port again."""
        app = web.Application(middlewares=[self._guard], client_max_size=64 * 1024 * 1024)
        build = f"/-/builds/{self.environment.build_uuid}"
        app.router.add_post(f"{build}/claim", self._claim)
        app.router.add_get(f"{build}/environment", self._environment)
        app.router.add_get(f"{build}/source.tar.gz", self._source)
        app.router.add_post(f"{build}/report", self._report)
        # Without `.+` aiohttp would not match names with braces.
        app.router.add_put(f"{build}/artifacts/{{name:.+}}", self._artifact)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Refuse connections until the next `start`."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        answer = await self._answer(request, handler)
        self.calls.append((request.method, request.raw_path, answer.status))
        self.called.set()
        return answer

    async def _answer(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        queued = self.faults[request.path.rsplit("/", 1)[1]]
        if not queued:
            answer: web.StreamResponse = await handler(request)
            return answer
        fault = queued.popleft()
        if isinstance(fault, int):
            return web.Response(status=fault)
        assert request.transport is not None
        if fault is CutHeaders:
            request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/gzip\r\n")
            request.transport.close()
            return web.Response()
        whole = await handler(request)
        cut = web.StreamResponse(headers={"Content-Length": str(len(whole.body))})
        await cut.prepare(request)
        await cut.write(whole.body[: len(whole.body) // 2])
        request.transport.close()
        return cut

    async def _claim(self, request: web.Request) -> web.Response:
        number = (await request.json())["number"]
        if self.claim_status == 200 and self.claims and number != self.claims[0]:
            return web.json_response({"status": "error"}, status=409)
        if self.claim_status == 200:
            self.claims.append(number)
        return web.json_response({"status": "OK"}, status=self.claim_status)

    async def _environment(self, _: web.Request) -> web.Response:
        return web.Response(body=environment_archive(self.environment), content_type="application/gzip")

    async def _source(self, _: web.Request) -> web.Response:
        return web.Response(body=self.source, content_type="application/gzip")

    async def _report(self, request: web.Request) -> web.Response:
        report = await request.json()
        self.reports.setdefault(report["id"], report)
        return web.json_response({"status": "OK"})

    async def _artifact(self, request: web.Request) -> web.Response:
        self.artifacts[request.match_info["name"]] = await request.read()
        return web.json_response({"status": "OK"})
