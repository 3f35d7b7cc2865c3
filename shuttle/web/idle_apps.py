"""Idle apps for operators: list them, and delete their Jenkins jobs. Their builds and records stay."""

import re
from datetime import datetime, timedelta

from aiohttp import web

from jenkins_pipelines.catalogue import PIPELINES
from shuttle.errors import InvalidRequestError, StoreError
from shuttle.events import instant_text
from shuttle.store.idle_apps import IdleApp, idle_apps, mark_idle_apps
from shuttle.web import SERVICES
from shuttle.web.answers import json_answer
from shuttle.web.description import Parameter, describe
from shuttle.web.models import IdleAppEntry, IdleApps
from shuttle.web.storable import query_text

_PAGE = 200
# 300 years: such an instant can still be computed and compared.
_SECONDS = re.compile("[0-9]{1,10}")
_IDLE_QUERY = (
    Parameter("pipeline", {"enum": sorted(PIPELINES)}, "The pipeline of the app's newest build.", required=True),
    Parameter(
        "idle_seconds",
        {"type": "string", "pattern": f"^{_SECONDS.pattern}$"},
        "How long ago that build has ended at least.",
        required=True,
    ),
)
_AFTER = Parameter("after", {"type": "string"}, "The value of `next` in the previous page.")


@describe(IdleApps, errors=(InvalidRequestError, StoreError), parameters=(*_IDLE_QUERY, _AFTER))
async def list_idle(request: web.Request) -> web.StreamResponse:
    """`GET /-/apps/idle?pipeline=&idle_seconds=&after=`: up to 200 of those that `prune` would take."""
    pipeline, before = _read_query(request)
    after = query_text(request, "after") or ""
    found = await request.app[SERVICES].database.run(
        idle_apps, pipeline=pipeline, before=before, after=after, limit=_PAGE
    )
    return _page(found)


@describe(IdleApps, errors=(InvalidRequestError, StoreError), parameters=_IDLE_QUERY)
async def prune(request: web.Request) -> web.StreamResponse:
    """`POST /-/apps/prune?pipeline=&idle_seconds=`: 200 once it is recorded that the jobs of up to 200 idle apps are to
    be deleted; with `next`, there may be more."""
    pipeline, before = _read_query(request)
    return _page(
        await request.app[SERVICES].database.run(mark_idle_apps, pipeline=pipeline, before=before, limit=_PAGE)
    )


def _read_query(request: web.Request) -> tuple[str, datetime]:
    pipeline = request.query.get("pipeline", "")
    if pipeline not in PIPELINES:
        raise InvalidRequestError(f"Choose one of these pipelines: {', '.join(sorted(PIPELINES))}.", field="pipeline")
    seconds = request.query.get("idle_seconds", "")
    if not _SECONDS.fullmatch(seconds):
        raise InvalidRequestError("Write idle_seconds as a whole number of seconds.", field="idle_seconds")
    return pipeline, request.app[SERVICES].clock.now() - timedelta(seconds=int(seconds))


def _page(found: list[IdleApp]) -> web.Response:
    entries = [IdleAppEntry(app_id=app.app_id, ended_at=instant_text(app.ended_at)) for app in found]
    return json_answer(IdleApps(apps=entries, next=found[-1].app_id if len(found) == _PAGE else None))
