"""The web application: the table of routes behind the gate, errors as JSON, and what every handler needs."""

import re
from itertools import count

from aiohttp import hdrs, web

from shuttle.lifecycle import Ports
from shuttle.lifecycle.accept import Acceptance
from shuttle.web import ACCEPTANCE, GATE, PORTS, READINESS, WORKER
from shuttle.web.answers import errors_as_json
from shuttle.web.auth import Gate
from shuttle.web.readiness import Readiness
from shuttle.web.routes import ROUTES
from shuttle.worker import Worker

# How long the rest of a body that nobody wanted is read, so that its sender sees the answer before the connection ends.
_LINGERING_SECONDS = 2.0
# Those outside of a placeholder.
_SLASH = re.compile(r"/(?![^{]*})")


def make_web(ports: Ports, worker: Worker) -> web.Application:
    """The application; starting and stopping what it works with is the composition root's business."""
    app = web.Application(middlewares=[errors_as_json], client_max_size=ports.settings.shuttle_max_body_bytes)
    app[PORTS] = ports
    app[ACCEPTANCE] = Acceptance(ports)
    app[WORKER] = worker
    app[READINESS] = Readiness(ports)
    app[GATE] = gate = Gate(ports.settings.shuttle_tokens, legacy_anonymous=ports.settings.shuttle_legacy_anonymous)
    for route in ROUTES:
        handler = gate.guard(route.handler, route.role, route.is_legacy)
        if route.method == "GET":
            app.router.add_get(_tolerant(route.path), handler)
        else:
            app.router.add_route(route.method, _tolerant(route.path), handler)
    app.router.add_route("*", "/-/{rest:.*}", _nothing_here)
    return app


def make_runner(app: web.Application, *, shutdown_seconds: float) -> web.AppRunner:
    """How the application is served. Bodies are unpacked by those who want them, within their limits (`body`)."""
    return web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=shutdown_seconds,
        handler_cancellation=False,
        auto_decompress=False,
        lingering_time=_LINGERING_SECONDS,
    )


def _tolerant(path: str) -> str:
    """The path's pattern with more slashes than one between its segments and behind them, as old clients send them.

    Not for our own `/-/…`: an artifact's name there is taken as it is.
    """
    if path.startswith("/-/"):
        return path
    places = count()
    inner = _SLASH.sub(lambda _: f"{{_{next(places)}:/+}}", path[1:])
    return f"/{{_begin:/*}}{inner}{{_end:/*}}" if inner else "/{_begin:/*}"


async def _nothing_here(request: web.Request) -> web.StreamResponse:
    """`/-/…` is ours: what is not in the table is not an app; what is there takes its own methods alone."""
    allowed: set[str] = set()
    for resource in request.app.router.resources():
        if resource.canonical.startswith("/-/"):
            allowed |= (await resource.resolve(request))[1] - {hdrs.METH_ANY}
    if allowed:
        raise web.HTTPMethodNotAllowed(request.method, allowed)
    raise web.HTTPNotFound
