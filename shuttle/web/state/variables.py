"""The variables of a build below `/-/state`. Lists never show sensitive values."""

from typing import Annotated, Any

from aiohttp import web
from pydantic import Field, RootModel, field_validator

from shuttle.build import Build
from shuttle.errors import ConflictError, ForbiddenError, InvalidRequestError, NotFoundError, StoreError
from shuttle.events import instant_text
from shuttle.standing import Standing
from shuttle.store.record_variables import (
    VariableRow,
    check_room,
    delete_variable,
    find_variable,
    known_variable,
    put_variable,
    variables_of,
)
from shuttle.store.tx import Tx
from shuttle.web import SERVICES, STANDING
from shuttle.web.description import Parameter, describe
from shuttle.web.models import Instant, ResponseBody
from shuttle.web.state.access import STATE_BUILD
from shuttle.web.state.answers import IGNORED_HEADERS, NO_CONTENT, answer, created, created_replies, no_content
from shuttle.web.state.artifacts import lock_writable
from shuttle.web.state.bodies import SHAPE_ERRORS, StateBody, read_shape
from shuttle.web.state.builds_named import build_in
from shuttle.web.state.details import InvalidShapeError
from shuttle.web.state.fields import Code, Name
from shuttle.web.state.names import key_in
from shuttle.web.state.pages import flag_of
from shuttle.web.state.row_ids import id_in_build
from shuttle.web.storable import STORABLE

HIDDEN = "******"
_ERRORS = (*SHAPE_ERRORS, ForbiddenError, NotFoundError, ConflictError, StoreError)
QUERY = (
    Parameter("required_for_resume", {"type": "boolean"}, "true: those that a resumed build needs; false: the others."),
)
_Value = Annotated[str, Field(max_length=65536), STORABLE]


class VariableChange(StateBody):
    """The fields to change; null and absent ones stay. A sensitive variable stays sensitive."""

    variable_value: _Value | None = None
    variable_type: Name | None = None
    set_at_state: Code | None = None
    is_sensitive: bool | None = None
    is_required_for_resume: bool | None = None

    @field_validator("variable_value", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value) if isinstance(value, int | float) else value


class NewVariable(VariableChange):
    """A variable to set; a value that is absent is the empty text."""

    variable_key: Name


class Variable(ResponseBody):
    """A variable; the value of a sensitive one is `******`, except for those who may read it."""

    id: str
    build_id: str
    variable_key: str
    variable_value: str
    variable_type: str
    set_at_state: int | None
    is_sensitive: bool
    is_required_for_resume: bool
    created_at: Instant
    updated_at: Instant


class Variables(RootModel[list[Variable]]):
    """Variables, by their names."""


class VariableTexts(RootModel[dict[str, str]]):
    """The values of the variables by their names."""


@describe(body=NewVariable, replies=created_replies(Variable), errors=_ERRORS)
async def post_variable(request: web.Request) -> web.StreamResponse:
    """`POST /-/state/builds/{build}/variables`: set a variable; 201 if it is new, else 200."""
    build = await build_in(request)
    body = await read_shape(request, NewVariable)
    if body.variable_key == "dict":
        raise InvalidRequestError("Choose another name than dict, which is a path of the API.", field="variable_key")
    if body.variable_value is None:
        body = body.model_copy(update={"variable_value": ""})
    written, row, is_new = await request.app[SERVICES].database.run(
        _set, build.build_uuid, body.variable_key, body, request.app[SERVICES].vault.seal
    )
    return created(request, _entry(written, row), is_new=is_new)


def _set(tx: Tx, build_uuid: str, name: str, body: VariableChange, seal: Any) -> tuple[Build, VariableRow, bool]:
    build = lock_writable(tx, build_uuid)
    if find_variable(tx, build.build_uuid, name) is None:
        check_room(tx, build.build_uuid)
    columns = {
        "value": body.variable_value,
        "kind": body.variable_type,
        "state_code": body.set_at_state,
        "required": body.is_required_for_resume,
    }
    given = {column: value for column, value in columns.items() if value is not None}
    is_new = put_variable(tx, build.build_uuid, name, given, seal, sensitive=body.is_sensitive is True)
    return build, known_variable(tx, build.build_uuid, name), is_new


@describe(Variables, parameters=QUERY, errors=(InvalidShapeError, ForbiddenError, NotFoundError, StoreError))
async def list_variables(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/builds/{build}/variables`: the variables, without sensitive values."""
    build, rows = await _rows(request)
    return answer(request, Variables([_entry(build, row) for row in rows]))


@describe(VariableTexts, parameters=QUERY, errors=(InvalidShapeError, ForbiddenError, NotFoundError, StoreError))
async def get_texts(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/builds/{build}/variables/dict`: names and values."""
    _, rows = await _rows(request)
    return answer(request, VariableTexts({row.name: HIDDEN if row.sealed else row.value for row in rows}))


async def _rows(request: web.Request) -> tuple[Build, list[VariableRow]]:
    build = await build_in(request)
    required = flag_of(request, "required_for_resume")
    return build, await request.app[SERVICES].database.run(variables_of, build.build_uuid, required=required)


@describe(Variable, errors=(ForbiddenError, NotFoundError, StoreError))
async def get_variable(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/builds/{build}/variables/{key}`: one variable; see `reveals` for sensitive ones."""
    build = await build_in(request)
    row = await request.app[SERVICES].database.run(known_variable, build.build_uuid, _key(request))
    if row.sealed is None or not reveals(request, build):
        return answer(request, _entry(build, row))
    plain = request.app[SERVICES].vault.open(row.sealed).decode()
    return answer(request, _entry(build, row).model_copy(update={"variable_value": plain}))


def reveals(request: web.Request, build: Build) -> bool:
    """Whether the caller may read sensitive values: a controller, the build itself, and the build that resumes it."""
    own = request.get(STATE_BUILD)
    if own is None:
        return request[STANDING] is Standing.CONTROLLER
    return build.build_uuid in {own.build_uuid, own.resume_from}


@describe(Variable, body=VariableChange, errors=_ERRORS, headers=IGNORED_HEADERS)
async def patch_variable(request: web.Request) -> web.StreamResponse:
    """`PATCH /-/state/builds/{build}/variables/{key}`: change what is given."""
    build = await build_in(request)
    body = await read_shape(request, VariableChange)

    def change(tx: Tx) -> tuple[Build, VariableRow, bool]:
        written = lock_writable(tx, build.build_uuid)
        known_variable(tx, written.build_uuid, _key(request))
        return _set(tx, written.build_uuid, _key(request), body, request.app[SERVICES].vault.seal)

    written, row, _ = await request.app[SERVICES].database.run(change)
    return answer(request, _entry(written, row))


@describe(replies=NO_CONTENT, errors=(InvalidRequestError, ForbiddenError, NotFoundError, StoreError))
async def delete_one(request: web.Request) -> web.StreamResponse:
    """`DELETE /-/state/builds/{build}/variables/{key}`."""
    build = await build_in(request)

    def delete(tx: Tx) -> None:
        delete_variable(tx, lock_writable(tx, build.build_uuid).build_uuid, _key(request))

    await request.app[SERVICES].database.run(delete)
    return no_content()


def _key(request: web.Request) -> str:
    return key_in(request, "key", "Variable")


def _entry(build: Build, row: VariableRow) -> Variable:
    set_at = row.created_at or build.accepted_at
    return Variable(
        id=id_in_build(build.build_uuid, f"variable {row.name}"),
        build_id=build.build_uuid,
        variable_key=row.name,
        variable_value=HIDDEN if row.sealed is not None else row.value,
        variable_type=row.kind,
        set_at_state=row.state_code,
        is_sensitive=row.sealed is not None,
        is_required_for_resume=row.required,
        created_at=instant_text(set_at),
        updated_at=instant_text(row.updated_at or set_at),
    )
