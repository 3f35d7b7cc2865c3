"""The web application: routes behind the gate, errors as JSON, and the objects that handlers share."""

import re
import socket
import ssl
from itertools import count
from typing import Any

from aiohttp import StreamReader, hdrs, web

from shuttle.errors import OutcomeUnknownError, ShuttleError
from shuttle.lifecycle import Services
from shuttle.lifecycle.membership import Membership
from shuttle.lifecycle.signals import Signals
from shuttle.settings import Settings
from shuttle.store.request_time import end_limit, limited_request
from shuttle.web import (
    ACCEPTANCE,
    BODY_ROOM,
    CALLERS,
    ERROR_FORM,
    GATE,
    MEMBERSHIP,
    READINESS,
    SERVICES,
    STARTED_AT,
    WORKER,
    Route,
    packerd,
)
from shuttle.web.agent_artifacts import UPLOADS, ArtifactUploads
from shuttle.web.answers import errors_as_json
from shuttle.web.auth import Gate
from shuttle.web.body_room import BodyRoom
from shuttle.web.callers import Callers, connection_limit
from shuttle.web.connection import MAX_HEAD_BYTES, Connection, TimeLimits, head_too_large
from shuttle.web.error_forms import ErrorForm, contract_form, packerd_form
from shuttle.web.packerd.access import packerd_gate
from shuttle.web.packerd.routes import add_packerd_routes
from shuttle.web.peers import add_peer_routes
from shuttle.web.readiness import Readiness
from shuttle.web.routes import ROUTES
from shuttle.web.sites import Sites
from shuttle.web.state.access import guard_state
from shuttle.web.state.build_count import BUILD_COUNT, BuildCount
from shuttle.web.state.routes import add_user_routes
from shuttle.web.tls_listener import TlsListener
from shuttle.worker import Worker

# How long the rest of an unwanted body is read, so that its sender sees the response before the connection closes.
_LINGERING_SECONDS = 2.0
# The only expectation that there is (RFC 9110, 10.1.1).
_CONTINUE = "100-continue"
_READING = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
# Slashes outside of placeholders.
_SLASH = re.compile(r"/(?![^{]*})")


def make_web(services: Services, worker: Worker, membership: Membership) -> web.Application:
    """Make the application. The composition root starts and stops the services that it uses."""
    settings, app = services.settings, web.Application(client_max_size=services.settings.shuttle_max_body_bytes)
    app[SERVICES] = services
    app[BODY_ROOM] = BodyRoom(
        memory_bytes=settings.shuttle_body_memory_bytes,
        disk_bytes=settings.shuttle_body_disk_bytes,
        folder=settings.shuttle_data_dir,
    )
    app[UPLOADS] = ArtifactUploads()
    app[ACCEPTANCE] = worker.acceptance
    app[WORKER] = worker
    app[MEMBERSHIP] = membership
    app[READINESS] = Readiness(services)
    app[BUILD_COUNT] = BuildCount(services.database)
    app[STARTED_AT] = services.clock.now()
    app[CALLERS] = make_callers(settings)
    app[GATE] = gate = _gate(services)
    add_packerd_routes(app, gate, packerd.PREFIX)
    for route in ROUTES:
        _add_route(app, gate, route)
    add_user_routes(app)
    add_peer_routes(app)
    app.router.add_route("*", "/-/{rest:.*}", _nothing_here)
    _prepare_responses(app)
    return app


def make_callers(settings: Settings) -> Callers:
    """Make the count of connections, which has the limits of the settings."""
    return Callers(
        maximum=connection_limit(settings.shuttle_max_connections),
        maximum_per_peer=settings.shuttle_max_connections_per_peer,
    )


def time_limits(settings: Settings) -> TimeLimits:
    """The limits of time for a connection."""
    return TimeLimits(
        head=settings.shuttle_head_timeout_seconds,
        idle=settings.shuttle_idle_timeout_seconds,
        reader=settings.shuttle_reader_stall_seconds,
    )


# What the listener of packer over REST shares with the main one.
_SHARED: tuple[web.AppKey[Any], ...] = (SERVICES, BODY_ROOM, ACCEPTANCE, WORKER, MEMBERSHIP, READINESS, CALLERS)


def make_packerd_web(main: web.Application) -> web.Application:
    """Make the application of the listener SHUTTLE_PACKERD_BIND, whose root is packer over REST."""
    settings = main[SERVICES].settings
    app = web.Application(client_max_size=settings.shuttle_max_body_bytes)
    for key in _SHARED:
        app[key] = main[key]
    app[ERROR_FORM] = packerd_form
    app[GATE] = gate = packerd_gate(main[SERVICES])
    add_packerd_routes(app, gate)
    _prepare_responses(app)
    return app


def _prepare_responses(app: web.Application) -> None:
    app.on_response_prepare.append(_end_limit)
    app.on_response_prepare.append(_close_while_draining)


def _add_route(app: web.Application, gate: Gate, route: Route) -> None:
    if route.state_api:
        handler, patterns = guard_state(gate, route), [f"{path}{{_end:/?}}" for path in (route.path, *route.synonyms)]
    else:
        handler = gate.guard(route.handler, route.role, open_to_anonymous=route.open_to_anonymous)
        patterns = [_tolerant(route.path)]
    for pattern in patterns:
        if route.method == "GET":
            app.router.add_get(pattern, handler)
        else:
            app.router.add_route(route.method, pattern, handler)


async def _close_while_draining(request: web.Request, response: web.StreamResponse) -> None:
    """Close the connection, so that the client sends its next request to another replica, as this one is stopping."""
    if request.app[READINESS].draining:
        response.force_close()
        response.headers[hdrs.CONNECTION] = "close"  # aiohttp has prepared the headers before


async def _end_limit(_request: web.Request, _response: web.StreamResponse) -> None:
    end_limit()


def _gate(services: Services) -> Gate:
    settings = services.settings
    # If other machines can reach the service, they may call it by its IP address.
    sites = Sites((services.public_url, *settings.shuttle_aliases), addresses_too=not settings.binds_loopback)
    return Gate(settings.shuttle_tokens, sites, legacy_anonymous=settings.shuttle_legacy_anonymous)


class _Server(web.Server):
    """Applies limits to each connection, and answers all of its errors as JSON."""

    def __init__(
        self,
        server: web.Server,
        callers: Callers,
        times: TimeLimits,
        signals: Signals,
        options: dict[str, Any],
        *,
        error_form: ErrorForm | None,
    ) -> None:
        super().__init__(self._answer, request_factory=self._begin)
        self._error_form = error_form
        self._signals = signals
        self._handle: Any = server.request_handler
        self._make = server.request_factory
        self._callers = callers
        self._times = times
        self._options = options

    def __call__(self) -> Connection:
        """See web.Server."""
        form = self._error_form or contract_form
        return Connection(self, self._callers, self._times, form, loop=self._loop, **self._options)

    def _begin(self, message: Any, body: StreamReader, connection: Any, writer: Any, task: Any) -> web.BaseRequest:
        connection.began(body)
        return self._make(message, body, connection, writer, task)

    async def _answer(self, request: Any) -> web.StreamResponse:
        with limited_request():
            return await errors_as_json(request, self._checked, self._error_form)

    async def _checked(self, request: web.Request) -> web.StreamResponse:
        if _head_bytes(request) > MAX_HEAD_BYTES:
            raise head_too_large()
        # aiohttp repeats an unknown expectation in its answer, and fails if the expectation is not valid text.
        if request.version >= (1, 1) and request.headers.get("Expect", _CONTINUE).lower() != _CONTINUE:
            raise web.HTTPExpectationFailed
        try:
            answer: web.StreamResponse = await self._handle(request)
        except ShuttleError as error:
            if request.method not in _READING and isinstance(error.__cause__ or error, OutcomeUnknownError):
                self._signals.unanswered.set()
            raise
        return answer


def _head_bytes(request: web.Request) -> int:
    """The size of the head in its usual form, with one space after each colon."""
    first_line = len(f"{request.method}  HTTP/1.1\r\n") + len(request.raw_path)
    return first_line + sum(len(name) + len(value) + len(": \r\n") for name, value in request.raw_headers) + len("\r\n")


class _Runner(web.AppRunner):
    """AppRunner with the connections of this package."""

    async def _make_server(self) -> web.Server:
        services = self.app[SERVICES]
        times = time_limits(services.settings)
        callers, form = self.app[CALLERS], self.app.get(ERROR_FORM)
        return _Server(await super()._make_server(), callers, times, services.signals, self._kwargs, error_form=form)


def make_runner(app: web.Application, *, shutdown_seconds: float) -> web.AppRunner:
    """Make the server of the application. aiohttp decompresses no bodies: `body` does, within limits."""
    return _Runner(
        app,
        access_log=None,
        shutdown_timeout=shutdown_seconds,
        auto_decompress=False,
        lingering_time=_LINGERING_SECONDS,
    )


def tls_listener(runner: web.AppRunner, listening: socket.socket, tls: ssl.SSLContext) -> TlsListener:
    """Serve the runner's application on this socket with TLS; the runner was made by `make_runner` and is set up."""
    assert isinstance(runner.server, _Server)  # noqa: S101 - see above
    seconds = runner.app[SERVICES].settings.shuttle_head_timeout_seconds
    return TlsListener(listening, runner.server, tls, runner.app[CALLERS], handshake_seconds=seconds)


def _tolerant(path: str) -> str:
    """The path's pattern, with repeated and trailing slashes allowed: clients of the older API send such paths.

    Paths below `/-/` are matched exactly, because an artifact's name in them is not changed.
    """
    if path.startswith("/-/"):
        return path
    numbers = count()
    inner = _SLASH.sub(lambda _: f"{{_{next(numbers)}:/+}}", path[1:])
    return f"/{{_begin:/*}}{inner}{{_end:/*}}" if inner else "/{_begin:/*}"


async def _nothing_here(request: web.Request) -> web.StreamResponse:
    """Answer unknown paths below `/-/` with 404, and known ones with 405 for any other method: no app is called `-`."""
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        if resource.canonical.startswith("/-/"):
            allowed |= (await resource.resolve(request))[1] - {hdrs.METH_ANY}
    if allowed:
        raise web.HTTPMethodNotAllowed(request.method, allowed)
    raise web.HTTPNotFound
