"""Health checks: liveness, readiness, the old shuttle's probe, and metrics for Prometheus."""

import asyncio

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shuttle.errors import UnavailableError
from shuttle.metrics import UNKNOWN_BACKLOG, show_backlog, show_replica
from shuttle.standing import Standing
from shuttle.store.backlog import read_backlog
from shuttle.web import GATE, MEMBERSHIP, READINESS, SERVICES
from shuttle.web.answers import json_answer
from shuttle.web.description import Reply, describe
from shuttle.web.models import Checks, Ok, Ready
from shuttle.web.readiness import OK

# Prometheus waits 10 s for the whole response.
_BACKLOG_SECONDS = 3.0


@describe(Ok)
async def healthz(request: web.Request) -> web.StreamResponse:
    """`GET /healthz`: the process answers requests."""
    return json_answer(Ok())


@describe(Ready, replies={503: Reply((Ready,))})
async def readyz(request: web.Request) -> web.StreamResponse:
    """`GET /readyz`: 503 if this replica cannot answer requests: without database or lease, or while it stops.

    If the object store or a Jenkins controller is unreachable, or this replica's clock is wrong, it is `degraded`, with
    200: other replicas could answer no better. Only callers who may read builds see the reasons, because these name
    addresses.
    """
    readiness = request.app[READINESS]
    checked = await readiness.states()
    states = {"replica": readiness.why_not or OK, **checked}
    controllers = readiness.controllers
    ready = states["replica"] == states["database"] == OK
    whole = all(state == OK for state in states.values())
    if not request.app[GATE].admits(request, Standing.READER):
        states, controllers = _without_reasons(states), _without_reasons(controllers)
    status = "not ready" if not ready else "OK" if whole else "degraded"
    body = Ready(status=status, checks=Checks(**states), controllers=controllers)
    return json_answer(body, status=200 if ready else 503)


@describe("text/plain", replies={503: Reply(("text/plain",))})
async def octhc(request: web.Request) -> web.StreamResponse:
    """`GET /octhc`: the old shuttle's probe. It is bad if the database or every Jenkins controller is unreachable."""
    readiness = request.app[READINESS]
    good = (await readiness.states())["database"] == OK and OK in readiness.controllers.values()
    return web.Response(text=f"overall_status={'good' if good else 'bad'}", status=200 if good else 503)


def _without_reasons(states: dict[str, str]) -> dict[str, str]:
    return {name: state if state == OK else "not ready" for name, state in states.items()}


@describe("text/plain")
async def metrics(request: web.Request) -> web.StreamResponse:
    """`GET /metrics`: Prometheus' text format, without build ids and secrets.

    While the database does not answer, the metrics that are read from it are NaN or absent; all others are served.
    """
    ages = request.app[MEMBERSHIP].ages()
    owned = request.app[SERVICES].owned
    show_replica(replicas=len(ages), owned_apps=len(owned), counter_age_seconds=ages[0][1])
    try:
        async with asyncio.timeout(_BACKLOG_SECONDS):
            show_backlog(await request.app[SERVICES].database.run(read_backlog))
    except (TimeoutError, UnavailableError):
        show_backlog(UNKNOWN_BACKLOG)
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
