"""A receiver of status webhooks and chunked logs, for demos and tests: it stores little and reports by callbacks.

It shows what a receiver has to do: identify a status by its `webhook-id` and log bytes by their offset, and answer with
the offset that it has, so that a sender that lost the connection continues there.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from aiohttp import ClientError, web

_FINAL_WORDS = frozenset({"succeeded", "failed", "timedout"})


@dataclass(slots=True)
class ReceivedBuild:
    """What has arrived of one build. `log_bytes` counts every byte once; the log's text is not kept."""

    app_id: str
    build_id: str
    statuses: list[dict[str, Any]] = field(default_factory=list)
    webhook_ids: set[str] = field(default_factory=set)
    log_bytes: int = 0
    log_hash: Any = field(default_factory=hashlib.sha256)
    log_ended: asyncio.Event = field(default_factory=asyncio.Event)
    final_status: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def log_sha256(self) -> str:
        """The SHA-256 of the bytes so far, in hex."""
        return str(self.log_hash.hexdigest())


def _ignore(_build: ReceivedBuild, _arrived: Any) -> None:
    """The default callback: do nothing."""


class Receiver:
    """An HTTP server on 127.0.0.1 with the hooks `/status` and `/logs`.

    `on_status(build, body)` is called once per event; `on_log(build, piece)` gets every byte of a log once, in order;
    `on_log_request(build, offset)` is called when a request with a part of a log begins.
    """

    def __init__(
        self,
        *,
        on_status: Callable[[ReceivedBuild, dict[str, Any]], None] = _ignore,
        on_log: Callable[[ReceivedBuild, bytes], None] = _ignore,
        on_log_request: Callable[[ReceivedBuild, int], None] = _ignore,
    ) -> None:
        self._on_status = on_status
        self._on_log = on_log
        self._on_log_request = on_log_request
        self._builds: dict[tuple[str, str], ReceivedBuild] = {}
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def status_url(self) -> str:
        """For `webhooks.status`."""
        return f"http://127.0.0.1:{self._port}/status"

    @property
    def log_url(self) -> str:
        """For `webhooks.logs`."""
        return f"http://127.0.0.1:{self._port}/logs"

    def build(self, app_id: str, build_id: str) -> ReceivedBuild:
        """What has arrived of that build so far, possibly nothing."""
        return self._builds.setdefault((app_id, build_id), ReceivedBuild(app_id, build_id))

    async def start(self, port: int = 0) -> None:
        """Start listening; port 0 is any free port."""
        app = web.Application()
        app.router.add_post("/status", self._receive_status)
        app.router.add_post("/logs", self._receive_log)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening; idempotent, also without `start`."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _receive_status(self, request: web.Request) -> web.Response:
        body = await request.json()
        build = self.build(body["app_id"], body["build_id"])
        webhook_id = request.headers["webhook-id"]
        if webhook_id not in build.webhook_ids:  # delivery is at least once
            build.webhook_ids.add(webhook_id)
            build.statuses.append(body)
            if body["status"] in _FINAL_WORDS:
                build.final_status.set()
            self._on_status(build, body)
        return web.Response(status=204)

    async def _receive_log(self, request: web.Request) -> web.Response:
        build = self.build(unquote(request.headers["Shuttle-App-Id"]), unquote(request.headers["Shuttle-Build-Id"]))
        offset = int(request.headers["Shuttle-Log-Offset"])
        if offset > build.log_bytes:
            # Bytes are missing in between: the answer has the offset from which to send.
            return _offset_answer(build, status=409)
        self._on_log_request(build, offset)
        try:
            async for piece in request.content.iter_any():
                self._take(build, offset, piece)
                offset += len(piece)
        except (ClientError, ConnectionError):
            return _offset_answer(build, status=400)  # cut off: only a complete request is the log's end
        if "Shuttle-Log-Piece" not in request.headers:
            build.log_ended.set()
        return _offset_answer(build, status=200)

    def _take(self, build: ReceivedBuild, offset: int, piece: bytes) -> None:
        fresh = piece[max(0, build.log_bytes - offset) :]
        if fresh:
            build.log_bytes += len(fresh)
            build.log_hash.update(fresh)
            self._on_log(build, fresh)


def _offset_answer(build: ReceivedBuild, *, status: int) -> web.Response:
    return web.Response(status=status, headers={"Shuttle-Log-Offset": str(build.log_bytes)})
