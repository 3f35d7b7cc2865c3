"""Builds below `/-/state`: creating the record of a build that another CI system runs, reading and changing builds."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from aiohttp import web

from shuttle.build import Build, Ending, State
from shuttle.errors import ConflictError, ForbiddenError, InvalidRequestError, NotFoundError, StoreError
from shuttle.lifecycle import Services
from shuttle.lifecycle.create_record import RecordRequest, accept_record
from shuttle.store.auto_resumes import planned_resume
from shuttle.store.builds import reread
from shuttle.store.projects import projects_of_apps, referred_project
from shuttle.store.record_failures import end_record, failures_of, repeated_end
from shuttle.store.record_lists import BuildFilter, page_of_records
from shuttle.store.record_states import StateReport, record_state, states_of
from shuttle.store.records import add_fields, children_of, known_build, lock_written
from shuttle.store.references import Kind, references_of_labels
from shuttle.store.tx import Tx
from shuttle.web import SERVICES
from shuttle.web.description import Parameter, describe
from shuttle.web.representation import auto_resume_form
from shuttle.web.state.access import STATE_BUILD
from shuttle.web.state.answers import IGNORED_HEADERS, answer, created, created_replies
from shuttle.web.state.bodies import IGNORED, SHAPE_ERRORS, read_shape
from shuttle.web.state.build_forms import SharedEntries, build_entry, labels_of
from shuttle.web.state.build_models import BuildChange, BuildEntries, BuildEntry, NewBuildBody
from shuttle.web.state.builds_named import build_in, finder_in
from shuttle.web.state.details import InvalidShapeError, invalid, invalid_field
from shuttle.web.state.names import query_key
from shuttle.web.state.pages import PAGE_QUERY, page_of

_FIELDS = ("name", "created_by", "concourse_pipeline_url", "concourse_job_name", "description", "commit_hash")
_CHANGED = ("ami_id", "image_id", "packer_manifest")
_STATUSES = {
    "completed": State.SUCCEEDED,
    "succeeded": State.SUCCEEDED,
    "success": State.SUCCEEDED,
    "failed": State.FAILED,
    "failure": State.FAILED,
    "error": State.FAILED,
}
_CONTINUES = frozenset({"running", "pending", "in_progress", "in-progress", "started"})
LIST_STATUSES = ("pending", "running", "completed", "failed")

LIST_QUERY = (
    *PAGE_QUERY,
    Parameter("project_id", {"type": "string"}, "Builds of this project: its uuid or name."),
    Parameter("status", {"type": "string", "enum": [*LIST_STATUSES]}, "Builds with this status."),
    Parameter("platform", {"type": "string"}, "Builds with this platform: its name."),
)


@describe(
    body=NewBuildBody,
    replies=created_replies(BuildEntry),
    errors=(*SHAPE_ERRORS, ForbiddenError, NotFoundError, ConflictError, StoreError),
)
async def post_build(request: web.Request) -> web.StreamResponse:
    """`POST /-/state/builds`: the record of a build that another CI system runs; with a state token, a child."""
    body = await read_shape(request, NewBuildBody)
    given = body.given()
    fields = {name: given[name] for name in _FIELDS if name in given}
    if "pipeline_url" in given:
        fields.setdefault("concourse_pipeline_url", given["pipeline_url"])
    record = RecordRequest(
        project=body.project_id,
        number=body.build_number or body.build_id or body.name,
        references={kind: given[f"{kind}_id"] for kind in _LABEL_KINDS if f"{kind}_id" in given},
        labels={kind.value: given[kind.value] for kind in _LABEL_KINDS if kind.value in given},
        fields=fields,
        metadata=body.metadata or {},
        state_code=body.start_state or 0,
        parent=request.get(STATE_BUILD),
    )
    try:
        accepted = await accept_record(record, request.app[SERVICES])
    except InvalidRequestError as error:
        if (error.field or "").startswith("metadata."):
            raise invalid_field(error) from None
        raise
    request[IGNORED] = (*request[IGNORED], *accepted.ignored_fields)
    return created(request, await _shown(request, lambda _: accepted.build), is_new=accepted.is_new)


_LABEL_KINDS = (
    Kind.PLATFORM,
    Kind.OS_VERSION,
    Kind.IMAGE_TYPE,
    Kind.CLOUD_PROVIDER,
    Kind.OS_DISTRIBUTION,
    Kind.IMAGE_VARIANT,
)


@describe(BuildEntry, errors=(ForbiddenError, NotFoundError, StoreError))
async def get_build(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/builds/{build}`: the build with its states, failures and children."""
    return answer(request, await _shown(request, finder_in(request)))


async def _shown(request: web.Request, find: Callable[[Tx], Build]) -> BuildEntry:
    """The build that `find` reads, with everything that belongs to it."""
    services = request.app[SERVICES]

    def read(tx: Tx) -> BuildEntry:
        build = find(tx)
        return build_entry(
            build,
            _shared(tx, [build], services),
            states=states_of(tx, build.build_uuid),
            failures=failures_of(tx, build.build_uuid),
            children=children_of(tx, build.build_uuid),
            auto_resume=auto_resume_form(planned_resume(tx, build), services.clock),
        )

    return await services.database.run(read)


def _shared(tx: Tx, found: Sequence[Build], services: Services) -> SharedEntries:
    labels = references_of_labels(tx, [label for build in found for label in labels_of(build)])
    projects = projects_of_apps(tx, {build.app_id for build in found})
    return SharedEntries(labels, projects, services.settings.build_shuttle_host)


@describe(BuildEntries, parameters=LIST_QUERY, errors=(InvalidShapeError, NotFoundError, StoreError))
async def list_builds(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/builds`: the builds of all apps, the newest first."""
    page = page_of(request)
    status = request.query.get("status")
    if status is not None and status not in LIST_STATUSES:
        raise invalid("query", "status", f"Choose one of {', '.join(LIST_STATUSES)}.", kind="enum")
    project, platform = query_key(request, "project_id", "Project"), query_key(request, "platform", "Platform")
    which = partial(_page, project=project, which=BuildFilter(None, status, platform), skip=page.skip, limit=page.limit)
    return answer(request, BuildEntries(await listed(request, which)))


def _page(tx: Tx, project: str | None, which: BuildFilter, skip: int, limit: int) -> list[Build]:
    app_id = None if project is None else referred_project(tx, project).app_id
    return page_of_records(tx, which._replace(app_id=app_id), skip=skip, limit=limit)


async def listed(request: web.Request, find: Callable[[Tx], Sequence[Build]]) -> list[BuildEntry]:
    """The builds that `find` reads, in the form of lists."""
    services = request.app[SERVICES]

    def read(tx: Tx) -> list[BuildEntry]:
        found = find(tx)
        shared = _shared(tx, found, services)
        return [build_entry(build, shared) for build in found]

    return await services.database.run(read)


@describe(
    BuildEntry,
    body=BuildChange,
    errors=(*SHAPE_ERRORS, ForbiddenError, NotFoundError, ConflictError, StoreError),
    headers=IGNORED_HEADERS,
)
async def put_build(request: web.Request) -> web.StreamResponse:
    """`PUT /-/state/builds/{build}`: change what is given; a status may end a record."""
    build = await build_in(request)
    body = await read_shape(request, BuildChange)
    changed = await request.app[SERVICES].database.run(_change, build.build_uuid, body)
    return answer(request, await _shown(request, lambda _: changed))


def _change(tx: Tx, build_uuid: str, body: BuildChange) -> Build:
    build = lock_written(tx, build_uuid)
    status = None if body.status is None else body.status.strip().lower()
    ending = None if status not in _STATUSES else _ending(_STATUSES[status], body)
    ended = None if ending is None else repeated_end(tx, build_uuid, build, ending)
    if ended is not None:
        return ended
    given: dict[str, Any] = body.given()
    fields = {name: given[name] for name in _CHANGED if name in given}
    if fields:
        build = add_fields(tx, build, fields)
    text = body.status if status not in _STATUSES else None
    names_state = text is not None and status not in _CONTINUES
    if body.current_state is not None and (names_state or body.current_state != build.state_code):
        report = StateReport(code=body.current_state, status=text, message=body.message, final=status not in _STATUSES)
        written_uuid, _ = record_state(tx, build_uuid, report)
        build = known_build(tx, written_uuid)
    if ending is not None:
        return end_record(tx, build.build_uuid, ending)
    if status is not None and status not in _CONTINUES and body.current_state is None:
        raise InvalidRequestError("Write the status as running, completed or failed.", field="status")
    return reread(tx, build)


def _ending(state: State, body: BuildChange) -> Ending:
    if state is State.SUCCEEDED:
        return Ending(state)
    message = body.error_message or body.message or "The CI system said that the build failed."
    return Ending(state, "reported_failure", message)
