"""State codes of projects, by the two paths that existing clients use: below their project, and `/state-codes`."""

from aiohttp import web

from shuttle.errors import ConflictError, InvalidRequestError, NotFoundError, StoreError
from shuttle.store import Tx
from shuttle.store.projects import Project, known_project, referred_project
from shuttle.store.references import Kind, Reference, lock_names
from shuttle.store.state_codes import (
    change_state_code,
    create_state_code,
    deactivate_state_code,
    known_state_code,
    page_of_state_codes,
)
from shuttle.web import SERVICES
from shuttle.web.description import Parameter, describe
from shuttle.web.state.answers import IGNORED_HEADERS, NO_CONTENT, answer, created, created_replies, no_content
from shuttle.web.state.bodies import SHAPE_ERRORS, read_shape
from shuttle.web.state.details import InvalidShapeError
from shuttle.web.state.names import key_in, query_key
from shuttle.web.state.pages import PAGE_QUERY, WITH_DEACTIVATED, Page, flag_of, page_of
from shuttle.web.state.state_code_models import (
    NewStateCode,
    NewStateCodeOfProject,
    StateCodeChange,
    StateCodeEntry,
    StateCodes,
    changed_values,
    new_values,
    state_code_entry,
)

_OF_PROJECT = Parameter("project_id", {"type": "string"}, "Only those of this project (uuid or name).")
_CREATED = created_replies(StateCodeEntry)
_CREATE_ERRORS = (*SHAPE_ERRORS, InvalidRequestError, NotFoundError, ConflictError, StoreError)
_LIST_ERRORS = (InvalidShapeError, NotFoundError, StoreError)
_CHANGE_ERRORS = (*SHAPE_ERRORS, NotFoundError, ConflictError, StoreError)


@describe(body=NewStateCode, replies=_CREATED, errors=_CREATE_ERRORS)
async def post_of_project(request: web.Request) -> web.StreamResponse:
    """`POST /-/state/projects/<uuid or name>/state-codes`: 201, or 200 if there is an equal one."""
    key = _project_in(request)
    return await _create(request, key or "", await read_shape(request, NewStateCode))


@describe(body=NewStateCodeOfProject, replies=_CREATED, errors=_CREATE_ERRORS)
async def post(request: web.Request) -> web.StreamResponse:
    """`POST /-/state/state-codes`: the same; the body names the project."""
    body = await read_shape(request, NewStateCodeOfProject)
    return await _create(request, body.project_id, body)


@describe(StateCodes, parameters=(*PAGE_QUERY, WITH_DEACTIVATED), errors=_LIST_ERRORS)
async def list_of_project(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/projects/<uuid or name>/state-codes`: all codes of the project."""
    return await _list(request, _project_in(request), usual_only=False)


@describe(StateCodes, parameters=(*PAGE_QUERY, WITH_DEACTIVATED, _OF_PROJECT), errors=_LIST_ERRORS)
async def list_all(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/state-codes`: the codes from 0 to 100, because the client that lists them rejects others."""
    return await _list(request, query_key(request, "project_id", "Project"), usual_only=True)


@describe(StateCodeEntry, errors=(NotFoundError, ConflictError, StoreError))
async def get(request: web.Request) -> web.StreamResponse:
    """`GET …/state-codes/<uuid or name>`; below a project also by code."""
    found = await request.app[SERVICES].database.run(_find, _code_in(request), _project_in(request))
    return answer(request, state_code_entry(found))


@describe(StateCodeEntry, body=StateCodeChange, errors=_CHANGE_ERRORS, headers=IGNORED_HEADERS)
async def put(request: web.Request) -> web.StreamResponse:
    """`PUT …/state-codes/<uuid or name>`; below a project also by code."""
    body = await read_shape(request, StateCodeChange)
    changed = await request.app[SERVICES].database.run(_change, _code_in(request), _project_in(request), body)
    return answer(request, state_code_entry(changed))


@describe(replies=NO_CONTENT, errors=(NotFoundError, ConflictError, StoreError))
async def delete(request: web.Request) -> web.StreamResponse:
    """`DELETE …/state-codes/<uuid or name>`; below a project also by code."""
    await request.app[SERVICES].database.run(_delete, _code_in(request), _project_in(request))
    return no_content()


async def _create(request: web.Request, project_key: str, body: NewStateCode) -> web.StreamResponse:
    found, is_new = await request.app[SERVICES].database.run(_insert, project_key, body)
    return created(request, state_code_entry(found), is_new=is_new)


async def _list(request: web.Request, project_key: str | None, *, usual_only: bool) -> web.StreamResponse:
    page, with_deactivated = page_of(request), flag_of(request, WITH_DEACTIVATED.name) or False
    found = await request.app[SERVICES].database.run(
        _page, project_key, page, usual_only=usual_only, with_deactivated=with_deactivated
    )
    return answer(request, StateCodes([state_code_entry(each) for each in found]))


def _project_in(request: web.Request) -> str | None:
    return key_in(request, "project_id", "Project") if "project_id" in request.match_info else None


def _code_in(request: web.Request) -> str:
    return key_in(request, "state_code_id", Kind.STATE_CODE.noun)


def _insert(tx: Tx, project_key: str, body: NewStateCode) -> tuple[Reference, bool]:
    return create_state_code(tx, referred_project(tx, project_key), body.name, new_values(body))


def _page(tx: Tx, project_key: str | None, page: Page, *, usual_only: bool, with_deactivated: bool) -> list[Reference]:
    return page_of_state_codes(
        tx,
        skip=page.skip,
        limit=page.limit,
        project=_of_key(tx, project_key),
        usual_only=usual_only,
        with_deactivated=with_deactivated,
    )


def _find(tx: Tx, key: str, project_key: str | None) -> Reference:
    return known_state_code(tx, key, _of_key(tx, project_key))


def _change(tx: Tx, key: str, project_key: str | None, body: StateCodeChange) -> Reference:
    project = _of_key(tx, project_key)  # this may lock apps, which are locked before names everywhere
    lock_names(tx)
    values = changed_values(body, known_state_code(tx, key, project))
    return change_state_code(tx, key, values, name=body.name, project=project)


def _delete(tx: Tx, key: str, project_key: str | None) -> None:
    deactivate_state_code(tx, key, _of_key(tx, project_key))


def _of_key(tx: Tx, project_key: str | None) -> Project | None:
    return None if project_key is None else known_project(tx, project_key)
