"""The runs of a request, their stages and their artifacts."""

import math
from urllib.parse import quote

from aiohttp import web

from shuttle.build import Build
from shuttle.errors import NotFoundError, NotOwnerError
from shuttle.events import instant_text
from shuttle.logs import LogReader
from shuttle.logs.spool import SpoolError
from shuttle.store.packer_requests import RunState, state_of_run
from shuttle.store.record_artifacts import ArtifactRow
from shuttle.web import SERVICES
from shuttle.web.answers import json_answer
from shuttle.web.description import OBJECT_ERRORS, Parameter, describe
from shuttle.web.packerd.bodies import id_in, run_in, stage_in
from shuttle.web.packerd.errors import UnknownError
from shuttle.web.packerd.links import request_link, response_link, stage_link
from shuttle.web.packerd.models import Buildresponse, Buildstage, Link, Links
from shuttle.web.packerd.requests import ID_ERRORS, known_runs
from shuttle.web.packerd.stage_logs import end_of_log, open_log, send_stage, until_staged
from shuttle.web.packerd.stages import RunStage, stages_of_run, status_of

# How a reference names an image that is on the agent only.
_IMAGE_ID = "sha256:"
_LOG_ERRORS = (SpoolError, NotOwnerError, *OBJECT_ERRORS)


@describe(Links, errors=ID_ERRORS)
async def get_responses(request: web.Request) -> web.StreamResponse:
    """`GET /build/responses/{id}`: links to the runs."""
    return json_answer([response_link(run).sent() for run in await known_runs(request)])


@describe(Buildresponse, errors=(*ID_ERRORS, *_LOG_ERRORS))
async def get_response(request: web.Request) -> web.StreamResponse:
    """`GET /build/responses/{id}/{buildnumber}`: the run."""
    state = await _state(request)
    stages = _stages(state)
    reader = await open_log(request, state.build, stages)
    base_url = request.app[SERVICES].public_url
    shown = Buildresponse(
        id=state.build.build_uuid,
        buildrequestid=state.run.request_id,
        status=status_of(state.build),
        buildstages=[await _shown(stage, state, reader) for stage in stages],
        buildrequest=[request_link(state.run.request_id)],
        images=[path for row in state.artifacts if (path := _path_of(row)).startswith(_IMAGE_ID)],
        artifacts=_artifacts(state.build, state.artifacts, base_url),
        eta=_seconds_left(state, request),
    )
    return _with_logs(shown)


@describe(Links, errors=ID_ERRORS)
async def get_stages(request: web.Request) -> web.StreamResponse:
    """`GET /build/responses/{id}/{buildnumber}/stages`: links to the stages that have begun."""
    state = await _state(request)
    return json_answer([stage_link(state.run, stage.name).sent() for stage in _stages(state)])


@describe(
    Buildstage,
    "text/plain",
    errors=(*ID_ERRORS, *_LOG_ERRORS, NotFoundError),
    parameters=(Parameter("follow", {"type": "string"}, "`true` or `1`: the whole log as text, while it grows."),),
    headers=("Shuttle-Log-Offset", "Shuttle-Log-Complete"),
)
async def get_stage(request: web.Request) -> web.StreamResponse:
    """`GET /build/responses/{id}/{buildnumber}/stages/{stagename}`: the stage with the end of its log."""
    name = stage_in(request)
    state = await _state(request)
    stage = _named(state, name)
    if request.query.get("follow", "").lower() in {"true", "1"}:
        if stage.row is not None:
            return await send_stage(request, stage.row, state.build)
        staged = state._replace(build=await until_staged(request, state.build))
        return web.Response(text=_named(staged, name).text)
    reader = await open_log(request, state.build, [stage])
    return _with_logs(await _shown(stage, state, reader))


def _with_logs(shown: Buildresponse | Buildstage) -> web.Response:
    """The answer in JSON by pydantic, which needs 1.3 ms for 1 MiB of a log; `json_answer` needs 6 ms of the loop."""
    body = shown.model_dump_json(exclude_defaults=True).encode()
    return web.Response(body=body, content_type="application/json", charset="utf-8")


async def _state(request: web.Request) -> RunState:
    state = await request.app[SERVICES].database.run(state_of_run, id_in(request), run_in(request))
    if state is None:
        raise UnknownError
    return state


def _stages(state: RunState) -> list[RunStage]:
    return stages_of_run(state.build, state.stages, has_branch="branch" in state.run.fields)


def _named(state: RunState, name: str) -> RunStage:
    for stage in _stages(state):
        if stage.name == name:
            return stage
    raise UnknownError("no stage with that name")


async def _shown(stage: RunStage, state: RunState, reader: LogReader | None) -> Buildstage:
    return Buildstage(
        name=stage.name,
        status=stage.status,
        log=await end_of_log(stage, state.build, state.run, reader),
        start="" if stage.began_at is None else instant_text(stage.began_at),
        end="" if stage.ended_at is None else instant_text(stage.ended_at),
    )


def _path_of(row: ArtifactRow) -> str:
    """Where a reference says that the artifact is; "" for an uploaded file."""
    return str((row.reference or {}).get("artifact_path") or "")


def _artifacts(build: Build, rows: list[ArtifactRow], base_url: str) -> list[Link]:
    """Links to uploaded files, and what packer says of the others: an AMI, an image with its tag."""
    path = f"{base_url}/{quote(build.app_id, safe='')}/{quote(build.build_id, safe='')}/artifacts"
    hrefs = [f"{path}/{quote(row.name)}" if row.reference is None else _path_of(row) for row in rows]
    return [Link(rel="artifact", href=href) for href in hrefs if href and not href.startswith(_IMAGE_ID)]


def _seconds_left(state: RunState, request: web.Request) -> int:
    """The expected time until the end; 0 without history, and if it has passed."""
    if state.expected_seconds is None:
        return 0
    began_at, now = state.build.staging_at, request.app[SERVICES].clock.now()
    passed = 0.0 if began_at is None else (now - began_at).total_seconds()
    return max(0, math.ceil(state.expected_seconds - passed))
