"""Plays a controller in the field: its apps and builds, its calls, and its callback route.

It uses real HTTP, as a server (callbacks) and a client (the legacy API), with a clock that tests control. It has the
faults of the real ones: it counts builds without a lock, ignores the bodies of responses, and overwrites statuses.
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import uuid4

import aiohttp
from aiohttp import web

from tests.support.clock import SetClock

# The statuses that its database allows, and the length of a stamp's window; a stamp of the window before is valid, too.
WORDS = frozenset({"queued", "pending", "failed", "succeeded", "unknown"})
WINDOW_SECONDS = 10_000
_KEY = b"key-of-the-controller"
_PATIENCE_SECONDS = 60


class RefusedError(Exception):
    """The error that the controller's user sees: the build system refused, or the build's state does not allow it."""


@dataclass
class ControllerApp:
    """An app; the names of apps contain no dash."""

    name: str
    space: str = "default"
    app_uuid: str = field(default_factory=lambda: str(uuid4()))

    @property
    def key(self) -> str:
        return f"{self.name}-{self.app_uuid}"


@dataclass
class ControllerBuild:
    """A row of the controller's builds; `statuses` has the statuses of all callbacks, in order."""

    app: ControllerApp
    id: str = field(default_factory=lambda: str(uuid4()))
    status: str = "queued"
    foreign_build_key: Any = 0
    number_sent: int = 0
    statuses: list[str] = field(default_factory=list)


class Controller:
    """Use it with `async with`; `answers` counts the callbacks by the status of the response."""

    def __init__(self, shuttle_url: str) -> None:
        self.shuttle_url = shuttle_url
        self.clock = SetClock()
        self.builds: list[ControllerBuild] = []
        self.answers: list[int] = []
        self.down = False
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/builds/{build_id}", self._on_callback)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE_SECONDS))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._runner.cleanup()

    # --- what its users ask for

    async def create(self, app: ControllerApp, sources: str, **variables: str) -> ControllerBuild:
        """Build the sources; the record remains if the build system refuses."""
        build = ControllerBuild(app)
        await self._insert(build)
        await self._request_build(build, sources, variables)
        return build

    async def rebuild(self, earlier: ControllerBuild, **variables: str) -> ControllerBuild:
        """Build the sources of an earlier build again, if the build system still has them."""
        sources = f"{self.shuttle_url}/{earlier.id}"
        if await self._call("HEAD", sources) is None:
            raise RefusedError("this build has been archived and cannot be rebuilt")
        return await self.create(earlier.app, sources, **variables)

    async def stop(self, build: ControllerBuild) -> None:
        """Stop a build, which must be pending. The controller marks it as failed without waiting for the callback."""
        if build.status != "pending":
            raise RefusedError(f"the build is {build.status}")
        await self._must("DELETE", f"{self.shuttle_url}/{build.app.key}/{build.foreign_build_key}")
        build.status = "failed"

    async def result(self, build: ControllerBuild) -> list[str]:
        """The log's lines as users see them: none before the build is pending, or if there is no log."""
        if build.status == "queued":
            return []
        content = await self._call("GET", self._logs(build), headers={"Content-Type": "application/json"})
        if not content:
            return []
        try:
            output = json.loads(content)["output"]
        except ValueError:
            output = content.decode()
        return str(output).split("\n")

    async def text(self, build: ControllerBuild) -> bytes:
        """The log as other clients read it."""
        return await self._call("GET", self._logs(build)) or b""

    async def delete_app(self, app: ControllerApp) -> None:
        """Stop the app's pending builds, ignoring errors, and then delete its job."""
        pending = [build for build in self.builds if build.app is app and build.status == "pending"]
        base = f"{self.shuttle_url}/{app.key}"
        await asyncio.gather(*(self._call("DELETE", f"{base}/{build.foreign_build_key}") for build in pending))
        await self._must("DELETE", base)

    # --- waiting

    async def until(self, condition: Callable[[], object], seconds: float = 60) -> None:
        """Wait until the condition holds; it is evaluated after every callback."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(condition)

    async def until_status(self, build: ControllerBuild, *words: str, seconds: float = 60) -> None:
        """Wait until the build has one of these statuses."""
        await self.until(lambda: build.status in words, seconds)

    async def until_logged(self, build: ControllerBuild, line: str, seconds: float = 60) -> list[str]:
        """Wait until the log has this line, and return the log."""
        async with asyncio.timeout(seconds):
            while line not in (lines := await self.result(build)):
                await asyncio.sleep(0.05)
            return lines

    # --- as a client

    async def _insert(self, build: ControllerBuild) -> None:
        """Insert the record after a moment, in which others may insert theirs."""
        self.builds.append(build)
        await asyncio.sleep(0)

    async def _request_build(self, build: ControllerBuild, sources: str, variables: dict[str, str]) -> None:
        app = build.app
        build.number_sent = sum(other.app is app for other in self.builds) + 1
        body = {
            "sha": "0123456789abcdef0123456789abcdef01234567",
            "app": app.name,
            "space": app.space,
            "branch": "main",
            "repo": "https://git.example/org/shop",
            "org": "org",
            "kafka_hosts": "",
            "build_number": build.number_sent,
            "build_uuid": build.id,
            "app_uuid": app.app_uuid,
            "sources": sources,
            "build_args": {"GIT_BRANCH": "main", **variables},
            "callback": f"{self.url}/builds/{build.id}",
            "callback_auth": self.stamp(build.id),
            "gm_registry_host": "registry.example",
            "gm_registry_repo": "org",
            "gm_registry_auth": {"username": "pusher", "password": "push-password"},
            "docker_registry": "",
            "docker_login": "",
            "docker_password": "",
        }
        headers = {"Content-Type": "application/json"}
        await self._must("POST", self.shuttle_url, data=_in_pieces(json.dumps(body).encode()), headers=headers)

    async def _must(self, method: str, url: str, **sent: Any) -> None:
        if await self._call(method, url, **sent) is None:
            raise RefusedError(f"{method} was refused")

    async def _call(self, method: str, url: str, **sent: Any) -> bytes | None:
        """The body of a successful response, which only logs need; None = refused."""
        async with self._session.request(method, url, **sent) as response:
            if response.status >= 400:
                return None
            return await response.read() if method == "GET" else b""

    def _logs(self, build: ControllerBuild) -> str:
        return f"{self.shuttle_url}/{build.app.key}/{build.foreign_build_key}/logs"

    # --- as a server

    def stamp(self, build_id: str, windows_ago: int = 0) -> str:
        """The stamp that proves that a callback is for this build; valid to the end of the next window."""
        window = round(self.clock.now().timestamp() / WINDOW_SECONDS) - windows_ago
        return hmac.new(_KEY + str(window).encode(), build_id.encode(), hashlib.sha256).hexdigest()

    async def _on_callback(self, request: web.Request) -> web.Response:
        status = await self._take(request)
        async with self._changed:
            self.answers.append(status)
            self._changed.notify_all()
        return web.Response(status=status)

    async def _take(self, request: web.Request) -> int:
        build_id = request.match_info["build_id"]
        body = await request.json()
        if self.down:
            return 503
        if request.headers.get("Authorization") not in {self.stamp(build_id), self.stamp(build_id, windows_ago=1)}:
            return 403
        build = next(build for build in self.builds if build.id == build_id)
        build.statuses.append(body["status"])
        if body["status"] not in WORDS or not isinstance(body["building"], bool):
            return 500
        build.status, build.foreign_build_key = body["status"], body["id"]
        return 200


async def _in_pieces(body: bytes) -> AsyncIterator[bytes]:
    """Send the body without its length, in chunks."""
    for start in range(0, len(body), 64 * 1024):
        yield body[start : start + 64 * 1024]
