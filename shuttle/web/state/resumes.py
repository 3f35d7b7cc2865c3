"""Resuming builds below `/-/state`: the context from which a successor starts, and the requests to resume."""

import uuid
from functools import partial
from typing import Any

from aiohttp import web

from shuttle.build import Api, Build, Ending, State
from shuttle.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    StoreError,
)
from shuttle.lifecycle import Services
from shuttle.lifecycle.create_record import build_id_of
from shuttle.lifecycle.left_behind import check_files
from shuttle.lifecycle.resume_trigger import TRIGGER, TRIGGER_PATH, Trigger, read_trigger, without_trigger
from shuttle.request import UUID, ResumeRequest, canonical_json
from shuttle.store.builds import lock_build
from shuttle.store.record_failures import end_record
from shuttle.store.record_jobs import jobs_of
from shuttle.store.record_states import EndedBuildError
from shuttle.store.records import add_fields, begin_record, known_build, note_call
from shuttle.store.resume_calls import call_of, cancel_call
from shuttle.store.resumes import NewResume, ResumeContext, resume_context, resume_record, resumes_of
from shuttle.store.tx import Tx
from shuttle.web import ACCEPTANCE, SERVICES, STANDING, WORKER
from shuttle.web.description import ACCEPT_ERRORS, describe
from shuttle.web.state.access import STATE_BUILD
from shuttle.web.state.answers import IGNORED_HEADERS, answer, created, created_replies, json_text
from shuttle.web.state.artifacts import artifact_entry
from shuttle.web.state.bodies import IGNORED, SHAPE_ERRORS, read_shape
from shuttle.web.state.builds_named import build_in
from shuttle.web.state.details import invalid_field
from shuttle.web.state.names import key_in
from shuttle.web.state.resume_entries import resume_entry
from shuttle.web.state.resume_models import (
    Context,
    NewResumeBody,
    ResumeChange,
    ResumeEntries,
    ResumeEntry,
)
from shuttle.web.state.variables import HIDDEN, reveals

_NOT_FOUND = "Resume request not found"


@describe(Context, errors=(ForbiddenError, NotFoundError, StoreError))
async def get_context(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/builds/{build}/resume-context`: where to begin, with which artifacts and variables."""
    build = await build_in(request)
    context = await request.app[SERVICES].database.run(resume_context, build)
    return answer(request, _context(request, build, context))


def _context(request: web.Request, build: Build, context: ResumeContext) -> Context:
    services = request.app[SERVICES]
    # A controller gets sensitive values one by one only, so that no CI system prints all of them by accident.
    plain = STATE_BUILD in request and reveals(request, build)
    variables = {}
    for row in context.variables:
        sensitive = services.vault.open(row.sealed).decode() if row.sealed and plain else HIDDEN
        variables[row.name] = row.value if row.sealed is None else sensitive
    url = services.settings.build_shuttle_host
    return Context(
        build_id=build.build_uuid,
        current_state=context.current_state,
        last_successful_state=context.last_successful_state,
        failed_state=context.failed_state,
        resume_from_state=context.resume_from_state,
        artifacts=[artifact_entry(*artifact, url) for artifact in context.artifacts],
        variables=variables,
        resumable_state_config=None if context.config is None else dict(context.config),
    )


@describe(
    body=NewResumeBody,
    replies=created_replies(ResumeEntry),
    errors=(*SHAPE_ERRORS, ForbiddenError, NotFoundError, *ACCEPT_ERRORS),
)
async def post_resume(request: web.Request) -> web.StreamResponse:
    """`POST /-/state/builds/{build}/resume`: a new build continues where this one failed."""
    build = await build_in(request)
    body = await read_shape(request, NewResumeBody)
    await _check_order(request, build, body)
    if build.api is Api.RECORD:
        successor, is_new = await _resume_record(request, build, body)
    else:
        if TRIGGER in (body.orchestration_config or {}):  # no CI system has to be called
            request[IGNORED] = (*request[IGNORED], TRIGGER_PATH)
        wanted = ResumeRequest(
            build.build_id, body.resume_from_state, latest=body.latest is True, recorded=_recorded_fields(body)
        )
        own_id = None if body.build_number is None else build_id_of(body.build_number)
        asked: dict[str, Any] = {"build_id": build.build_id}
        if body.resume_from_state is not None:
            asked["state"] = body.resume_from_state
        if wanted.latest:
            asked["latest"] = True
        content = canonical_json({"resume_from": asked})
        accepted = await request.app[ACCEPTANCE].accept_resume(build.app_id, own_id, wanted, content, request[STANDING])
        successor, is_new = accepted.build, not accepted.replayed
        if is_new:
            request.app[WORKER].add(successor, has_sinks=accepted.has_sinks)
    return created(request, await _shown(request, successor), is_new=is_new)


async def _check_order(request: web.Request, build: Build, body: NewResumeBody) -> None:
    context = await request.app[SERVICES].database.run(resume_context, build, body.resume_from_state)
    if body.resume_to_state is not None and body.resume_to_state <= context.resume_from_state:
        raise InvalidRequestError("Choose a resume_to_state above resume_from_state.", field="resume_to_state")


async def _resume_record(request: web.Request, build: Build, body: NewResumeBody) -> tuple[Build, bool]:
    if body.latest:
        raise InvalidRequestError("Leave latest out: the CI system of this build chooses its source.", field="latest")
    services, fields = request.app[SERVICES], _asked(body)
    vault = services.vault
    trigger = _trigger(body, services)
    request[IGNORED] = (*request[IGNORED], *trigger.ignored_fields)
    await check_files(build.build_uuid, services)
    content = canonical_json({"resume": build.build_uuid, **fields})
    new = NewResume(
        build_uuid=str(uuid.uuid4()),
        build_id=None if body.build_number is None else build_id_of(body.build_number),
        number=body.build_number,
        state_code=body.resume_from_state,
        fields=_recorded_fields(body),
        request_fingerprint=vault.fingerprint(content),
        same_request=partial(vault.matches, content),
        call=trigger.call,
    )
    return await services.database.run(resume_record, build.build_uuid, new)


def _asked(body: NewResumeBody) -> dict[str, Any]:
    return {name: value for name, value in body.given().items() if name not in {"build_number", "latest"}}


def _recorded_fields(body: NewResumeBody) -> dict[str, Any]:
    """The fields that lists of the requests show. The URL that is called may have secrets, and is left out."""
    fields = _asked(body)
    if body.orchestration_config is not None:
        fields["orchestration_config"] = without_trigger(body.orchestration_config)
    return fields


def _trigger(body: NewResumeBody, services: Services) -> Trigger:
    try:
        return read_trigger(body.orchestration_config, _call_body, services)
    except InvalidRequestError as error:
        raise invalid_field(error) from None


def _call_body(successor: Build) -> bytes:
    """What the CI system gets: the request, as this API answers it."""
    return json_text(resume_entry(successor, (), None)).encode()


@describe(ResumeEntries, errors=(ForbiddenError, NotFoundError, StoreError))
async def list_resumes(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/builds/{build}/resume`: the requests to resume this build."""
    build = await build_in(request)
    found = await request.app[SERVICES].database.run(resumes_of, build.build_uuid)
    return answer(request, ResumeEntries([await _shown(request, each) for each in found]))


@describe(ResumeEntry, errors=(NotFoundError, StoreError))
async def get_resume(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/resume-requests/{resume}`: one request."""
    return answer(request, await _shown(request, await _named(request)))


async def _named(request: web.Request) -> Build:
    key = key_in(request, "resume", "Resume request")
    if not UUID.fullmatch(key):
        raise NotFoundError(_NOT_FOUND)
    found = await request.app[SERVICES].database.run(known_build, key.lower())
    if found.resume_from is None:
        raise NotFoundError(_NOT_FOUND)
    if "_build" in request.match_info and (await build_in(request, "_build")).build_uuid != found.resume_from:
        raise NotFoundError(_NOT_FOUND)
    return found


@describe(
    ResumeEntry,
    body=ResumeChange,
    errors=(*SHAPE_ERRORS, NotFoundError, ConflictError, StoreError),
    headers=IGNORED_HEADERS,
)
async def patch_resume(request: web.Request) -> web.StreamResponse:
    """`PATCH /-/state/resume-requests/{resume}`: the CI system reports progress, which may begin or end the record."""
    build = await _named(request)
    body = await read_shape(request, ResumeChange)
    changed = await request.app[SERVICES].database.run(_move, build.build_uuid, body)
    return answer(request, await _shown(request, changed))


def _move(tx: Tx, build_uuid: str, body: ResumeChange) -> Build:
    build = lock_build(tx, build_uuid) or known_build(tx, build_uuid)
    note_call(tx, build_uuid)
    fields = {**(build.record or {}).get("resume", {}), **body.given()}
    build = add_fields(tx, build, {"resume": fields})
    if body.orchestration_status == "triggered":
        cancel_call(tx, build_uuid)
    if body.orchestration_status == "running":
        return begin_record(tx, build)
    ending = _ending(body)
    if ending is None:
        return build
    if build.state.final:  # `end_record` would end the build that resumes this one, but the request names this one
        if build.state is not ending.state:
            raise EndedBuildError
        return build
    return end_record(tx, build_uuid, ending)


def _ending(body: ResumeChange) -> Ending | None:
    if body.orchestration_status == "completed":
        return Ending(State.SUCCEEDED)
    if body.orchestration_status == "failed":
        message = body.error_message or "The CI system could not resume the build."
        return Ending(State.FAILED, "reported_failure", message)
    return None


async def _shown(request: web.Request, build: Build) -> ResumeEntry:
    def read(tx: Tx) -> ResumeEntry:
        return resume_entry(build, jobs_of(tx, build.build_uuid), call_of(tx, build.build_uuid))

    return await request.app[SERVICES].database.run(read)
