"""Routes that only the older API has, and its responses (docs/contract.md, "The older API")."""

from datetime import UTC, datetime, time

from aiohttp import web

from shuttle.build import Build, State
from shuttle.errors import (
    CannotRecordError,
    ConflictError,
    InvalidRequestError,
    LegacyRefusalError,
    NotFoundError,
    StoreError,
)
from shuttle.lifecycle.delete import delete_app
from shuttle.request import legacy_app
from shuttle.request.legacy_shape import LegacyBody
from shuttle.settings import Settings
from shuttle.standing import Standing
from shuttle.web import ACCEPTANCE, SERVICES, STANDING, WORKER
from shuttle.web.answers import ACCEPTANCE_HEADERS, acceptance_headers, json_answer
from shuttle.web.body import json_body
from shuttle.web.description import JSON_ERRORS, Reply, describe
from shuttle.web.legacy_models import LegacyOk, LegacyRefusal, LegacyStatus
from shuttle.web.names import app_id_in

# Only this route says `stopped`; callbacks say `failed`.
_STATUS_WORDS = {State.SUCCEEDED: "succeeded", State.STOPPED: "stopped"}


@describe(
    LegacyOk,
    body=LegacyBody,
    replies={400: Reply((LegacyRefusal,))},
    errors=(*JSON_ERRORS, ConflictError, CannotRecordError, StoreError),
    headers=ACCEPTANCE_HEADERS,
)
async def post_build(request: web.Request) -> web.StreamResponse:
    """`POST /`: 200 once the build is durable. Two refusals have the wording of the old shuttle."""
    try:
        host = request.headers.get("Host", "")
        async with json_body(request) as body:
            answer = await request.app[ACCEPTANCE].accept_legacy(body, host, request[STANDING])
    except LegacyRefusalError as error:
        return json_answer(LegacyRefusal(status=error.message), status=error.status)
    if not answer.replayed:
        request.app[WORKER].add(answer.build, has_sinks=answer.has_sinks)
    return json_answer(LegacyOk(), headers=acceptance_headers(answer))


@describe(LegacyOk, errors=(InvalidRequestError, NotFoundError, StoreError))
async def delete_app_of_path(request: web.Request) -> web.StreamResponse:
    """`DELETE /{app}-{app_uuid}`: recorded at once; its builds stop, its job is deleted later. Idempotent."""
    app_id = app_id_in(request)
    if legacy_app(app_id) is None and request[STANDING] is not Standing.ANONYMOUS:
        raise NotFoundError("Only an app <app>-<app_uuid> can be deleted.")
    await delete_app(app_id, request[STANDING], request.app[SERVICES])
    return json_answer(LegacyOk())


def may_be_old_shuttles(app_id: str, build_id: str, settings: Settings, now: datetime) -> bool:
    """Whether a stop for a build unknown here may be meant for one that the old shuttle runs."""
    until = settings.shuttle_legacy_until
    if until is None or now >= datetime.combine(until, time(), UTC):
        return False
    return legacy_app(app_id) is not None and build_id.isascii() and build_id.isdigit()


def status_form(build: Build) -> LegacyStatus:
    """The body of `GET …/{n}/status` for a build of the older API."""
    word = _STATUS_WORDS.get(build.state, "failed") if build.state.final else "pending"
    return LegacyStatus(id=int(build.build_id), building=not build.state.final, status=word)
