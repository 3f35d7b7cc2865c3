"""The routes that only the older API has, and the forms of its answers (contract, section 7)."""

from datetime import UTC, datetime, time
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from shuttle.build import Api, Build, State
from shuttle.errors import InvalidRequestError, LegacyRefusalError, NotFoundError
from shuttle.lifecycle.delete import delete_app
from shuttle.request import UUID, legacy_app
from shuttle.settings import Settings
from shuttle.web import ACCEPTANCE, PORTS, WORKER
from shuttle.web.answers import acceptance_headers, json_answer
from shuttle.web.body import json_body
from shuttle.web.names import app_id_in, ids_in, raw_segments

OK = {"status": "ok"}

# `stopped` is a word of this route alone; callbacks call it failed.
_STATUS_WORDS = {State.SUCCEEDED: "succeeded", State.STOPPED: "stopped"}


async def post_build(request: web.Request) -> web.StreamResponse:
    """`POST /`: 200 once the build is durable; its own two refusals in the words of the old shuttle."""
    try:
        async with json_body(request) as body:
            answer = await request.app[ACCEPTANCE].accept_legacy(body, request.headers.get("Host", ""))
    except LegacyRefusalError as error:
        return json_answer({"status": error.message}, status=error.status)
    if not answer.replayed:
        request.app[WORKER].adopt(answer.build, has_sinks=answer.has_sinks)
    return json_answer(OK, headers=acceptance_headers(answer))


async def delete_app_of_path(request: web.Request) -> web.StreamResponse:
    """`DELETE /{app}-{app_uuid}`: recorded at once; its builds stop, its job goes later. Also fine when absent."""
    app_id = app_id_in(request)
    if legacy_app(app_id) is None:
        raise NotFoundError("Only an app <app>-<app_uuid> can be deleted.")
    await delete_app(app_id, request.app[PORTS])
    return json_answer(OK)


def is_old_shuttles(app_id: str, build_id: str, settings: Settings, now: datetime) -> bool:
    """Whether the stop of a build that is unknown here may be meant for one that the old shuttle runs."""
    until = settings.shuttle_legacy_until
    if until is None or now >= datetime.combine(until, time(), UTC):
        return False
    return legacy_app(app_id) is not None and build_id.isascii() and build_id.isdigit()


def status_form(build: Build) -> dict[str, Any]:
    """What `GET …/{n}/status` says of a build of the older API."""
    word = _STATUS_WORDS.get(build.state, "failed") if build.state.final else "pending"
    return {"id": int(build.build_id), "building": not build.state.final, "status": word, "type": "jenkins"}


async def always(request: web.Request) -> bool:
    """For routes that are the older API's alone."""
    return True


async def is_legacy_apps(request: web.Request) -> bool:
    """Whether the path's app has a build of the older API, or none at all."""
    try:
        app_id = app_id_in(request)
    except InvalidRequestError:  # no app has such an id
        return False
    return await request.app[PORTS].store.is_open_to_legacy(app_id)


async def is_of_legacy_build(request: web.Request) -> bool:
    """Whether the path's pair of ids means a build of the older API, or one of the old shuttle that is not known."""
    try:
        app_id, build_id = ids_in(request)
    except InvalidRequestError:  # no build has such ids
        return False
    builds = await request.app[PORTS].store.builds_of(app_id, build_id)
    return builds[-1].api is Api.LEGACY if builds else legacy_app(app_id) is not None


async def is_legacy_source(request: web.Request) -> bool:
    """Whether the path is the uuid of a build of the older API, or of one that only the bucket may know."""
    segment = unquote(raw_segments(request)[0])
    if not UUID.fullmatch(segment):
        return False
    build = await request.app[PORTS].store.build(segment.lower())
    return build is None or build.api is Api.LEGACY
