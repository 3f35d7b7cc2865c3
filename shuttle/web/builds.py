"""Builds over HTTP: request, stop, read and list them."""

import re

import structlog
from aiohttp import web

from shuttle.build import Api, Build, State
from shuttle.errors import (
    ConflictError,
    InvalidRequestError,
    KeyMissingError,
    NotFoundError,
    NothingToStopError,
    StoreError,
)
from shuttle.lifecycle import Services
from shuttle.lifecycle.build_spec import BuildSpec, read_spec
from shuttle.lifecycle.stop import stop_pair
from shuttle.request.shape import BuildRequest
from shuttle.store.auto_resumes import PlannedResume, planned_resume
from shuttle.store.builds import endpoints_and_artifacts, has_app, newest_event, page_of_builds
from shuttle.store.permitted import newest_of_pair
from shuttle.store.progress import StageRow, stages_of
from shuttle.store.records import children_of
from shuttle.store.tx import Tx
from shuttle.web import ACCEPTANCE, SERVICES, STANDING, WORKER, legacy
from shuttle.web.answers import ACCEPTANCE_HEADERS, acceptance_headers, json_answer
from shuttle.web.body import json_body
from shuttle.web.description import ACCEPT_ERRORS, JSON_ERRORS, Parameter, describe
from shuttle.web.event_models import FinalStatusEvent, StatusEvent
from shuttle.web.legacy_models import LegacyOk, LegacyStatus
from shuttle.web.models import BuildPage, Ok, WholeBuild
from shuttle.web.names import ids_in, named_build
from shuttle.web.representation import long_form, short_form

log = structlog.get_logger()

_MAX_PAGE = 200
_PAGE = 50
# A position or an id; both are below 2**63.
WHOLE_NUMBER = "[0-9]{1,18}"


# The query parameters of lists of builds.
PAGE_QUERY = (
    Parameter("limit", {"type": "integer", "minimum": 1, "maximum": _MAX_PAGE, "default": _PAGE}, "How many builds."),
    Parameter(
        "before", {"type": "string", "pattern": f"^{WHOLE_NUMBER}$"}, "The value of `next` in the previous page."
    ),
    Parameter("state", {"enum": [state.value for state in State]}, "Only builds in this state."),
)


@describe(
    Ok,
    body=BuildRequest,
    errors=(*JSON_ERRORS, NotFoundError, *ACCEPT_ERRORS),
    headers=ACCEPTANCE_HEADERS,
)
async def post_build(request: web.Request) -> web.StreamResponse:
    """`POST /:app_id/:build_id`: 200 once the build is durable."""
    async with json_body(request) as body:
        app_id, build_id = ids_in(request)
        answer = await request.app[ACCEPTANCE].accept(app_id, build_id, body, request[STANDING])
    if not answer.replayed:
        request.app[WORKER].add(answer.build, has_sinks=answer.has_sinks)
    return json_answer(Ok(), headers=acceptance_headers(answer))


@describe(Ok, LegacyOk, errors=(InvalidRequestError, NotFoundError, ConflictError, NothingToStopError, StoreError))
async def delete_build(request: web.Request) -> web.StreamResponse:
    """`DELETE /:app_id/:build_id`: 200 once the stop is durable; the body has the form of the build's API."""
    app_id, build_id = ids_in(request)
    services = request.app[SERVICES]
    standing = request[STANDING]
    newest = await stop_pair(app_id, build_id, standing, services)
    if newest is None:
        may_run_elsewhere = legacy.may_be_old_shuttles(app_id, build_id, services.settings, services.clock.now())
        if may_run_elsewhere and await services.database.run(newest_of_pair, app_id, build_id, standing) is None:
            return json_answer(LegacyOk())
        raise NothingToStopError(f"Build {build_id} of {app_id} is unknown or has already ended.")
    return json_answer(LegacyOk() if newest is Api.LEGACY else Ok())


@describe(WholeBuild, errors=(NotFoundError, StoreError))
async def get_build(request: web.Request) -> web.StreamResponse:
    """`GET /:app_id/:build_id`: everything about one build, without secrets."""
    services = request.app[SERVICES]
    build = await named_build(request)
    spec = await _spec_or_none(build, services)
    receivers, sinks, artifacts = await services.database.run(endpoints_and_artifacts, build.build_uuid)
    stages, children, planned = await services.database.run(_parts_of, build)
    return json_answer(
        long_form(
            build,
            spec,
            receivers=receivers,
            sinks=sinks,
            artifacts=artifacts,
            stages=stages,
            children=children,
            planned=planned,
            services=services,
        ),
        recorded={"metadata": build.metadata_json},
    )


def _parts_of(tx: Tx, build: Build) -> tuple[list[StageRow], list[Build], PlannedResume | None]:
    return stages_of(tx, build.build_uuid), children_of(tx, build.build_uuid), planned_resume(tx, build)


async def _spec_or_none(build: Build, services: Services) -> BuildSpec | None:
    """The spec, or None if its encryption key is missing: everything else about the build can be read.

    A build that another CI system runs has no spec.
    """
    if build.api is Api.RECORD:
        return None
    try:
        return await read_spec(build.build_uuid, services.database, services.vault)
    except KeyMissingError as error:
        log.warning("cannot decrypt a build's arguments", build_uuid=build.build_uuid, error=error.message)
        return None


@describe(StatusEvent, FinalStatusEvent, LegacyStatus, errors=(NotFoundError, StoreError))
async def get_status(request: web.Request) -> web.StreamResponse:
    """`GET /:app_id/:build_id/status`: the newest webhook body, or the older API's status for a build of that API."""
    build = await named_build(request)
    if build.api is Api.LEGACY:
        return json_answer(legacy.status_form(build))
    body = await request.app[SERVICES].database.run(newest_event, build.build_uuid)
    return web.Response(body=body, content_type="application/json")


async def list_app(request: web.Request, app_id: str) -> web.StreamResponse:
    """`GET /:app_id`: the app's builds, newest first."""
    if not await request.app[SERVICES].database.run(has_app, app_id):
        raise NotFoundError(f"There is no app {app_id}: no build of it was ever accepted.")
    return await _page(request, app_id)


@describe(BuildPage, errors=(InvalidRequestError, StoreError), parameters=PAGE_QUERY)
async def list_all(request: web.Request) -> web.StreamResponse:
    """`GET /-/builds`: the builds of all apps, newest first."""
    return await _page(request, None)


async def _page(request: web.Request, app_id: str | None) -> web.StreamResponse:
    limit = _whole_number(request, "limit", _PAGE)
    if not 1 <= limit <= _MAX_PAGE:
        raise InvalidRequestError(f"Ask for 1 to {_MAX_PAGE} builds.", field="limit")
    before = _whole_number(request, "before", 0) or None
    builds = await request.app[SERVICES].database.run(
        page_of_builds, app_id=app_id, before=before, state=_state(request), limit=limit + 1
    )
    more = len(builds) > limit
    page = [short_form(build) for build in builds[:limit]]
    return json_answer(BuildPage(builds=page, next=str(builds[limit - 1].position) if more else None))


def _whole_number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not re.fullmatch(WHOLE_NUMBER, text):
        raise InvalidRequestError(f"Write {name} as a whole number.", field=name)
    return int(text)


def _state(request: web.Request) -> State | None:
    text = request.query.get("state")
    if text is None:
        return None
    try:
        return State(text)
    except ValueError:
        raise InvalidRequestError(f"Choose one of: {', '.join(State)}.", field="state") from None
