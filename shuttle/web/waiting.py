"""Responses while the start waits for the database: 503 for all requests but `/healthz`; `/readyz` says why.

Packer over REST answers in its own form, and its `/health` with 200.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable

from aiohttp import web

from shuttle.errors import StoreError
from shuttle.web import packerd
from shuttle.web.answers import error_answer, json_answer
from shuttle.web.callers import Callers
from shuttle.web.connection import Connection, TimeLimits
from shuttle.web.error_forms import form_at
from shuttle.web.models import Checks, Ok, Ready
from shuttle.web.packerd.health import health_without_services
from shuttle.web.tls_listener import TlsListener

_NOT_READY = "This replica is starting."
_NOT_CHECKED = "not checked yet: the start waits for the database"
_PROBED_CHARACTERS = 64
# A connection is answered within this time after it is accepted, because its request arrives together with it.
_ACCEPTED_WITHIN_SECONDS = 0.1


class _Server(web.Server):
    """Applies the limits to each connection."""

    def __init__(
        self, answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], callers: Callers, times: TimeLimits
    ) -> None:
        super().__init__(answer, access_log=None)
        self._callers = callers
        self._times = times

    def __call__(self) -> Connection:
        """See web.Server."""
        return Connection(self, self._callers, self._times, loop=self._loop, **self._kwargs)


class WaitingSite:
    """Answers on a duplicate of the listening socket, so that closing it leaves the socket to the service.

    Connections have the limits of the service: `callers` counts them, and `times` limits their waiting. `root` is the
    path on the main listener at which the root of this one would be.
    """

    def __init__(
        self,
        listening: socket.socket,
        callers: Callers,
        times: TimeLimits,
        *,
        root: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._listening = listening
        self._callers = callers
        self._times = times
        self._root = root
        self._tls = tls
        self._why = "The service starts."
        self._accepting: socket.socket | None = None
        self._listener: TlsListener | None = None
        self._runner: web.ServerRunner | None = None

    def say(self, why: str) -> None:
        """Set the sentence that says what the start waits for."""
        self._why = why

    async def start(self) -> None:
        """Answer until `close`."""
        server = _Server(self._answer, self._callers, self._times)
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await self._runner.setup()
        self._accepting = self._listening.dup()
        if self._tls is None:
            await web.SockSite(self._runner, self._accepting).start()
            return
        self._listener = TlsListener(
            self._accepting, server, self._tls, self._callers, handshake_seconds=self._times.head
        )
        self._listener.start()

    async def close(self) -> None:
        """Leave new connections to the service, answer those already accepted, and end; idempotent.

        asyncio forgets a connection that it accepted in the very step in which its server is closed: it neither serves
        nor closes it, and the client waits until its time-out. So the server is closed some time after the last accept.
        """
        runner, self._runner = self._runner, None
        if runner is None or self._accepting is None:
            return
        if self._listener is None:
            asyncio.get_running_loop().remove_reader(self._accepting)
        else:
            await self._listener.stop_accepting()
        await asyncio.sleep(_ACCEPTED_WITHIN_SECONDS)
        if self._listener is not None:
            await self._listener.close()
        await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = self._answer_to(request)
        answer.force_close()  # the next request may be for the service
        return answer

    def _answer_to(self, request: web.BaseRequest) -> web.Response:
        path = self._root + "/" + request.path.strip("/")[:_PROBED_CHARACTERS]
        if path == "/healthz":
            return json_answer(Ok())
        if path == "/readyz":
            checks = Checks(
                replica=_NOT_READY,
                database=self._why,
                object_store=_NOT_CHECKED,
                clock=_NOT_CHECKED,
                jenkins=_NOT_CHECKED,
            )
            return json_answer(
                Ready(status="not ready", checks=checks, controllers={}), status=503, headers={"Retry-After": "5"}
            )
        if path == "/octhc":
            return web.Response(text="overall_status=bad", status=503)
        if path == f"{packerd.PREFIX}/health":
            return json_answer(health_without_services())
        return error_answer(StoreError(self._why), form_at(path))
