"""The probes of `bldst`: whether the process answers, whether it is ready, and what it consists of."""

from datetime import datetime, timedelta

from aiohttp import web

import shuttle
from shuttle.events import instant_text
from shuttle.web import READINESS, SERVICES, STARTED_AT
from shuttle.web.description import Reply, describe
from shuttle.web.readiness import OK
from shuttle.web.state.answers import answer
from shuttle.web.state.build_count import BUILD_COUNT
from shuttle.web.state.models import Alive, CacheStatus, DatabaseStatus, ReadyForState, ServiceStatus


@describe(Alive)
async def get_health(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/health`: the process answers requests."""
    return answer(request, Alive(timestamp=_now(request)))


@describe(ReadyForState, replies={503: Reply((ReadyForState,))})
async def get_ready(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/ready`: 503 if this replica cannot answer requests, as `GET /readyz`."""
    readiness = request.app[READINESS]
    has_database = (await readiness.states())["database"] == OK
    ready = has_database and readiness.why_not is None
    body = ReadyForState(
        status="ready" if ready else "unready", database="ok" if has_database else "error", timestamp=_now(request)
    )
    return answer(request, body, status=200 if ready else 503)


@describe(ServiceStatus)
async def get_service_status(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/status`: version, uptime, and the number of builds."""
    count = await request.app[BUILD_COUNT].current()
    database = DatabaseStatus(
        type="sqlite" if request.app[SERVICES].database.alone else "postgresql",
        status="error" if count is None else "connected",
        builds_count=count,
    )
    uptime = request.app[SERVICES].clock.now() - request.app[STARTED_AT]
    body = ServiceStatus(
        uptime=_without_microseconds(uptime),
        version=shuttle.__version__,
        database=database,
        cache=CacheStatus(),
        timestamp=_now(request),
    )
    return answer(request, body)


def _without_microseconds(duration: timedelta) -> str:
    return str(timedelta(seconds=max(0, int(duration.total_seconds()))))


def _now(request: web.Request) -> str:
    now: datetime = request.app[SERVICES].clock.now()
    return instant_text(now)
