"""A fake shuttle for tests of the agent's side: an HTTP server with the calls of a build, and faults on demand."""

import asyncio
import io
import tarfile
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, Self

from aiohttp import web

from jenkins_pipelines.environment import AgentEnvironment, environment_archive
from tests.support.free_port import free_port

BUILD_UUID = "6f1b2c3d-0000-4000-8000-000000000001"
TOKEN = "token-of-this-build-0123456789"  # made-up secrets; tests check that they appear nowhere else
SETUP_TOKEN = "setup-token_of-this-build-987654"
RUN_TOKEN = "run-token_of-this-build-24681357"
TOKENS = (TOKEN, SETUP_TOKEN, RUN_TOKEN)


def source_archive(
    files: Mapping[str, bytes | str],
    *,
    executable: tuple[str, ...] = ("build.sh",),
    links: Mapping[str, str] | None = None,
) -> bytes:
    """A tar.gz as the shuttle sends it: normalized, with ordinary modes and any links."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o755 if name in executable else 0o644
            archive.addfile(entry, io.BytesIO(data))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return packed.getvalue()


class Cut:
    """A fault: the response declares its length, but the connection closes after half of the body."""


class CutHeaders:
    """A fault: the connection closes after the status line and one header, like that of a proxy that dies."""


class NoOffset:
    """A fault of `log`: the response 200 has no Shuttle-Log-Offset, although the bytes are accepted."""


Fault = int | type[Cut] | type[CutHeaders] | type[NoOffset]


class AgentApi:
    """Records claims (build numbers), reports (by id), artifacts (by name) and every call as (method, path, status).

    `faults[last part of the path]` is a queue of faults for the next calls: a status, `Cut`, `CutHeaders` or
    `NoOffset`. A call in `held` gets its response when its event is set.
    `logs` holds the streams, `ends` their exit statuses, `progress` the stages' events; `late` has the ids of events
    that came after bytes that follow them in the log.
    """

    def __init__(self, environment: AgentEnvironment | None = None, source: bytes = b"") -> None:
        self.environment = environment or AgentEnvironment(app_id="app", build_id="1", build_uuid=BUILD_UUID)
        self.source = source
        self.token = TOKEN
        self.claim_status = 200
        self.claim_answer: dict[str, Any] = {}
        # A recorded claim is answered when this is set.
        self.claim_recorded: asyncio.Event | None = None
        self.begun = False
        self.pause_seconds, self.idle_seconds = "0.05", "30"
        # A push with a larger body is answered 413.
        self.most_push_bytes = 4 * 1024 * 1024
        self.stop_cause: str | None = None
        self.over = False
        self.claims: list[int] = []
        self.nonces: list[str] = []
        self.branches: list[str | None] = []
        self.logs: defaultdict[str, bytearray] = defaultdict(bytearray)
        self.pushes: list[tuple[str, int, int]] = []
        self.ends: dict[str, int] = {}
        self.progress: list[dict[str, Any]] = []
        self.late: list[str] = []
        self.reports: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, bytes] = {}
        self.artifact_refusals: dict[str, str] = {}
        self.calls: list[tuple[str, str, int]] = []
        self.faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self.held: dict[str, asyncio.Event] = {}
        self.waiting: set[str] = set()
        self.port = 0
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """The main stream as text."""
        return self.logs["main"].decode("utf-8", "replace")

    def has_logged(self, text: str) -> bool:
        """Whether the main stream is exactly `text`."""
        return self.log == text

    @property
    def stages(self) -> list[str]:
        """`<stage> begin` and `<stage> end <status>`, in order."""
        return [" ".join([one["stage"], one["event"], *filter(None, [one.get("status")])]) for one in self.progress]

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until the condition holds; it is evaluated after every call."""
        async with self._changed:
            await self._changed.wait_for(holds)

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
        app.router.add_post(f"{build}/begin", self._begin)
        app.router.add_get(f"{build}/environment", self._environment)
        app.router.add_get(f"{build}/source.tar.gz", self._source)
        app.router.add_post(f"{build}/log", self._log)
        app.router.add_post(f"{build}/progress", self._progress)
        app.router.add_post(f"{build}/report", self._report)
        # Without `.+` aiohttp would not match names with braces.
        app.router.add_put(f"{build}/artifacts/{{name:.+}}", self._artifact)
        self._runner = web.AppRunner(app, shutdown_timeout=0.05)
        await self._runner.setup()
        self.port = self.port or free_port()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        """Refuse connections until the next `start`."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        answer = await self._answer(request, handler)
        self.calls.append((request.method, request.raw_path, answer.status))
        async with self._changed:
            self._changed.notify_all()
        return answer

    async def _answer(self, request: web.Request, handler: Any) -> web.StreamResponse:
        name = request.path.rsplit("/", 1)[1]
        if request.headers.get("Authorization") != f"Bearer {self._token_of(name)}":
            return web.Response(status=401)
        if name in self.held:
            self.waiting.add(name)
            async with self._changed:
                self._changed.notify_all()
            await self.held[name].wait()
        queued = self.faults[name]
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
        if fault is NoOffset:
            return web.Response()
        cut = web.StreamResponse(headers={"Content-Length": str(len(whole.body))})
        await cut.prepare(request)
        await cut.write(whole.body[: len(whole.body) // 2])
        request.transport.close()
        return cut

    def _token_of(self, call: str) -> str:
        if call == "claim":
            return self.token
        return SETUP_TOKEN if call in {"environment", "source.tar.gz", "begin"} else RUN_TOKEN

    async def _claim(self, request: web.Request) -> web.Response:
        claim = await request.json()
        branch, nonce = claim.get("branch"), claim["nonce"]
        if self.claim_status == 200 and self.claims and claim["number"] != self.claims[0]:
            return web.json_response({"status": "error"}, status=409)
        if self.claim_status == 200 and self.begun and branch is None:
            return web.json_response({"status": "error"}, status=409)
        if self.claim_status == 200:
            self.claims.append(claim["number"])
            self.nonces.append(nonce)
            self.branches.append(branch)
        async with self._changed:
            self._changed.notify_all()
        if self.claim_recorded is not None:
            await self.claim_recorded.wait()
        answer = {
            "setup_token": SETUP_TOKEN,
            "run_token": RUN_TOKEN,
            "stop_grace_seconds": 2,
            "console": "summary",
            "log_url": "http://shuttle.example/app/1/log",
            "log": {"pause_seconds": 0.05, "max_bytes": 1 << 31},
        }
        return web.json_response(answer | self.claim_answer, status=self.claim_status)

    async def _begin(self, _: web.Request) -> web.Response:
        self.begun = True
        return web.json_response({"status": "OK"})

    async def _environment(self, _: web.Request) -> web.Response:
        if self.begun and self.branches[-1] is None:
            return web.Response(status=410)
        return web.Response(body=environment_archive(self.environment), content_type="application/gzip")

    async def _source(self, _: web.Request) -> web.Response:
        if self.begun and self.branches[-1] is None:
            return web.Response(status=410)
        return web.Response(body=self.source, content_type="application/gzip")

    async def _log(self, request: web.Request) -> web.Response:
        if self.over:
            return web.Response(status=410)
        stream, offset = request.query["stream"], int(request.query["offset"])
        body, known = await request.read(), self.logs[stream]
        assert len(body) <= 4 * 1024 * 1024
        if len(body) > self.most_push_bytes:
            return web.Response(status=413)
        self.pushes.append((stream, offset, len(body)))
        status = 409 if offset > len(known) else 200
        if status == 200:
            known += body[len(known) - offset :]
            if "end" in request.query:
                self.ends[stream] = int(request.query["exit"])
        headers = {
            "Shuttle-Log-Offset": str(len(known)),
            "Shuttle-Log-Pause": "0" if len(body) >= 1 << 20 else self.pause_seconds,
            "Shuttle-Log-Idle": self.idle_seconds,
        }
        if self.stop_cause is not None:
            headers["Shuttle-Stop"] = self.stop_cause
        return web.Response(status=status, headers=headers)

    async def _progress(self, request: web.Request) -> web.Response:
        event = await request.json()
        if event["id"] not in {known["id"] for known in self.progress}:
            self.progress.append(event)
            if len(self.logs[self.branches[-1] or "main"]) > event["offset"]:
                self.late.append(event["id"])
        return web.json_response({"status": "OK"})

    async def _report(self, request: web.Request) -> web.Response:
        try:
            report = await request.json()
        except UnicodeDecodeError:
            return web.json_response({"status": "error", "code": "invalid"}, status=400)
        self.reports.setdefault(report["id"], report)
        return web.json_response({"status": "OK"})

    async def _artifact(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name in self.artifact_refusals:
            answer = {"status": "error", "code": "invalid", "message": self.artifact_refusals[name], "field": "name"}
            return web.json_response(answer, status=400)
        self.artifacts[name] = await request.read()
        return web.json_response({"status": "OK"})
