"""Resumable states of projects: with which artifacts and variables a build can be resumed at a state code."""

import re
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field, RootModel

from shuttle.errors import ConflictError, NotFoundError, StoreError
from shuttle.events import instant_text
from shuttle.store import Tx
from shuttle.store.projects import known_project, referred_project
from shuttle.store.references import (
    Kind,
    Reference,
    change_reference,
    create_reference,
    known_reference,
    page_of_references,
)
from shuttle.web import SERVICES
from shuttle.web.description import Parameter, describe
from shuttle.web.models import Instant, ResponseBody
from shuttle.web.state.answers import IGNORED_HEADERS, answer, created, created_replies
from shuttle.web.state.bodies import SHAPE_ERRORS, StateBody, read_shape
from shuttle.web.state.details import InvalidShapeError
from shuttle.web.state.fields import Code, Description, Message, Name
from shuttle.web.state.names import key_in
from shuttle.web.state.pages import PAGE_QUERY, flag_of, page_of

Strategy = Literal["from_artifact", "rerun_state", "skip_to_next"]
_Names = Annotated[list[Name], Field(max_length=100)]
_CODE = re.compile(r"-1|[0-9]{1,3}")
# A project has at most as many as there are codes.
_ALL = 1001
_RESUMABLE = Parameter(
    "is_resumable", {"type": "boolean"}, "true: those at which builds can be resumed; false: the others."
)
_NO_STATE = "Resumable state not found"


class ResumableStateChange(StateBody):
    """Fields to change; null and absent ones stay."""

    is_resumable: bool | None = None
    resume_strategy: Strategy | None = None
    required_artifacts: _Names | None = None
    required_variables: _Names | None = None
    resume_command: Message | None = None
    resume_timeout_seconds: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    description: Description | None = None
    notes: Message | None = None


class NewResumableState(ResumableStateChange):
    """A state code at which builds of the project can be resumed."""

    state_code: Code


class ResumableState(ResponseBody):
    """How builds of the project are resumed at this state code."""

    id: str
    project_id: str
    state_code: int
    is_resumable: bool
    resume_strategy: Strategy | None
    required_artifacts: list[str]
    required_variables: list[str]
    resume_command: str | None
    resume_timeout_seconds: int
    description: str | None
    notes: str | None
    created_at: Instant
    updated_at: Instant


class ResumableStates(RootModel[list[ResumableState]]):
    """Resumable states, sorted by their code."""


_BLANK: dict[str, Any] = {
    "is_resumable": True,
    "resume_strategy": None,
    "required_artifacts": [],
    "required_variables": [],
    "resume_command": None,
    "resume_timeout_seconds": 3600,
    "description": None,
    "notes": None,
}


@describe(
    body=NewResumableState,
    replies=created_replies(ResumableState),
    errors=(*SHAPE_ERRORS, NotFoundError, ConflictError, StoreError),
)
async def post(request: web.Request) -> web.StreamResponse:
    """`POST /-/state/projects/<uuid or name>/resumable-states`: 201, or 200 if there is an equal one."""
    body = await read_shape(request, NewResumableState)
    found, is_new = await request.app[SERVICES].database.run(_create, _project_in(request), body)
    return created(request, resumable_state_entry(found), is_new=is_new)


@describe(ResumableStates, parameters=(*PAGE_QUERY, _RESUMABLE), errors=(InvalidShapeError, NotFoundError, StoreError))
async def list_all(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/projects/<uuid or name>/resumable-states`: by their code."""
    page, flag = page_of(request), flag_of(request, _RESUMABLE.name)
    found = await request.app[SERVICES].database.run(_all, _project_in(request))
    wanted = [each for each in found if flag is None or each.fields["is_resumable"] is flag]
    shown = sorted(wanted, key=lambda each: int(each.name))[page.skip : page.skip + page.limit]
    return answer(request, ResumableStates([resumable_state_entry(each) for each in shown]))


@describe(ResumableState, errors=(NotFoundError, StoreError))
async def get(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/projects/<uuid or name>/resumable-states/<code>`."""
    found = await request.app[SERVICES].database.run(_find, _project_in(request), _code_in(request))
    return answer(request, resumable_state_entry(found))


@describe(
    ResumableState,
    body=ResumableStateChange,
    errors=(*SHAPE_ERRORS, NotFoundError, ConflictError, StoreError),
    headers=IGNORED_HEADERS,
)
async def put(request: web.Request) -> web.StreamResponse:
    """`PUT /-/state/projects/<uuid or name>/resumable-states/<code>`: change fields of it."""
    values = (await read_shape(request, ResumableStateChange)).given()
    changed = await request.app[SERVICES].database.run(_change, _project_in(request), _code_in(request), values)
    return answer(request, resumable_state_entry(changed))


def resumable_state_entry(found: Reference) -> ResumableState:
    """The resumable state for display."""
    return ResumableState(
        id=found.reference_id,
        project_id=found.scope,
        state_code=int(found.name),
        created_at=instant_text(found.created_at),
        updated_at=instant_text(found.updated_at),
        **found.fields,
    )


def _project_in(request: web.Request) -> str:
    return key_in(request, "project_id", "Project")


def _code_in(request: web.Request) -> str:
    """The code as the row's name; raises NotFoundError for anything else."""
    text = request.match_info["code"]
    if not _CODE.fullmatch(text):
        raise NotFoundError(_NO_STATE)
    return str(int(text))


def _create(tx: Tx, project_key: str, body: NewResumableState) -> tuple[Reference, bool]:
    project, given = referred_project(tx, project_key), body.given()
    code = given.pop("state_code")
    return create_reference(tx, Kind.RESUMABLE_STATE, str(code), {**_BLANK, **given}, project.project_id)


def _all(tx: Tx, project_key: str) -> list[Reference]:
    project = known_project(tx, project_key)
    return page_of_references(tx, Kind.RESUMABLE_STATE, project.project_id, skip=0, limit=_ALL)


def _find(tx: Tx, project_key: str, code: str) -> Reference:
    return known_reference(tx, Kind.RESUMABLE_STATE, code, known_project(tx, project_key).project_id)


def _change(tx: Tx, project_key: str, code: str, values: dict[str, Any]) -> Reference:
    scope = known_project(tx, project_key).project_id
    return change_reference(tx, Kind.RESUMABLE_STATE, code, values, scope=scope)
