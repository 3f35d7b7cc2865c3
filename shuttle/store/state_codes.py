"""State codes of projects: the code, the name and the meaning of a state. Callers may leave the code out."""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any

import sqlalchemy as sa

from shuttle.build import project_id_of
from shuttle.errors import ConflictError, InvalidRequestError, NotFoundError
from shuttle.store.prepared import Call, Prepared
from shuttle.store.projects import Project
from shuttle.store.references import (
    REFERENCE_COLUMNS,
    Kind,
    Reference,
    change_reference,
    create_reference,
    deactivate_reference,
    from_row,
    known_reference,
    lock_names,
    page_of_references,
)
from shuttle.store.tables import reference
from shuttle.store.tx import Tx

_INITIAL, _FINAL, _ERROR = 0, 100, -1
_LARGEST = 999
_STEP = 5
_BY_FLAG = (("is_initial", _INITIAL), ("is_error", _ERROR), ("is_final", _FINAL))
_CODE = reference.c.fields["code"].as_integer()
_OF_PROJECT = Prepared(
    sa.select(reference.c.name, reference.c.fields).where(
        reference.c.kind == Kind.STATE_CODE,
        reference.c.scope == sa.bindparam("project"),
        reference.c.deactivated_at.is_(None),
    )
)
# No project has more codes than there are numbers.
_ALL = _LARGEST - _ERROR + 1


def create_state_code(tx: Tx, project: Project, name: str, values: Mapping[str, Any]) -> tuple[Reference, bool]:
    """Record a state code; returns it and whether it is new.

    Without a code in `values`, the service chooses one: 0 for an initial state, 100 for a final one, -1 for an error.
    Any other state, and one whose usual code is taken, gets the next free multiple of 5.

    Raises:
        ConflictError: the name or the code is in use. InvalidRequestError: the project has an initial one already.
    """
    lock_names(tx)
    codes = _codes_of(tx, project)
    known = next((each for each in codes if each.name == name), None)
    if known is not None:
        given = {"code": known.fields["code"], **values}
        return create_reference(tx, Kind.STATE_CODE, name, given, project.project_id)
    used = {each.fields["code"]: each.name for each in codes}
    if values["is_initial"] and any(each.fields["is_initial"] for each in codes):
        raise InvalidRequestError("The project has an initial state code already; delete that one first.")
    code: int = values["code"] if "code" in values else _free_code(values, used)
    if code in used:
        raise ConflictError(f"The code {code} is that of '{used[code]}'; choose another one.")
    return create_reference(tx, Kind.STATE_CODE, name, {**values, "code": code}, project.project_id)


def change_state_code(
    tx: Tx, key: str, values: Mapping[str, Any], *, name: str | None, project: Project | None = None
) -> Reference:
    """Change these fields, and perhaps the name. `key`: see `known_state_code`.

    Raises:
        NotFoundError: there is none. ConflictError: another one of the project has the name or the code.
    """
    lock_names(tx)
    known = known_state_code(tx, key, project)
    of_project = (reference.c.kind == Kind.STATE_CODE, reference.c.scope == known.scope)
    same = (*of_project, reference.c.deactivated_at.is_(None), reference.c.reference_id != known.reference_id)
    if "code" in values and tx.execute(sa.select(reference.c.name).where(*same, values["code"] == _CODE)).first():
        raise ConflictError(f"The code {values['code']} is in use; choose another one.")
    return change_reference(tx, Kind.STATE_CODE, known.reference_id, values, name=name, scope=known.scope)


def known_state_code(tx: Tx, key: str, project: Project | None = None) -> Reference:
    """The state code with this uuid or name; within a project `key` may also be the code itself.

    Raises:
        NotFoundError: there is none. ConflictError: several projects have one of this name.
    """
    if project is None:
        return _of_any_project(tx, key)
    numbered = [each for each in _codes_of(tx, project) if str(each.fields["code"]) == key]
    return numbered[0] if numbered else known_reference(tx, Kind.STATE_CODE, key, project.project_id)


def page_of_state_codes(
    tx: Tx, *, skip: int, limit: int, project: Project | None, usual_only: bool, with_deactivated: bool
) -> list[Reference]:
    """State codes, sorted by project and code. `usual_only` = those from 0 to 100: existing clients refuse others."""
    which = [reference.c.kind == Kind.STATE_CODE]
    if usual_only:
        which += [_CODE >= _INITIAL, _CODE <= _FINAL]
    if project is not None:
        which.append(reference.c.scope == project.project_id)
    if not with_deactivated:
        which.append(reference.c.deactivated_at.is_(None))
    order = (reference.c.scope, _CODE, reference.c.name)
    query = sa.select(*REFERENCE_COLUMNS).where(*which).order_by(*order).offset(skip).limit(limit)
    return [from_row(row) for row in tx.execute(query)]


def deactivate_state_code(tx: Tx, key: str, project: Project | None = None) -> None:
    """Delete it. Raises NotFoundError."""
    known = known_state_code(tx, key, project)
    deactivate_reference(tx, Kind.STATE_CODE, known.reference_id, known.scope)


def codes_of_app(tx: Tx, app_id: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Names and fields of the project's state codes."""
    statement, values = call_for_codes(app_id)
    return [(name, fields) for name, fields in statement.fetch(tx, values)]


def call_for_codes(app_id: str) -> Call:
    """The query for names and fields of the project's state codes."""
    return Call(_OF_PROJECT, {"project": project_id_of(app_id)})


def _of_any_project(tx: Tx, key: str) -> Reference:
    named = sa.or_(reference.c.reference_id == key.lower(), reference.c.name == key)
    active = (reference.c.kind == Kind.STATE_CODE, reference.c.deactivated_at.is_(None))
    found = [from_row(row) for row in tx.execute(sa.select(*REFERENCE_COLUMNS).where(*active, named).limit(_ALL))]
    of_uuid = [each for each in found if each.reference_id == key.lower()] or found
    if not of_uuid:
        raise NotFoundError(f"{Kind.STATE_CODE.noun} not found")
    if len(of_uuid) > 1:
        raise ConflictError("Several projects have a state code of this name; name it by its uuid.")
    return of_uuid[0]


def _codes_of(tx: Tx, project: Project) -> Sequence[Reference]:
    return page_of_references(tx, Kind.STATE_CODE, project.project_id, skip=0, limit=_ALL)


def _free_code(values: Mapping[str, Any], used: Collection[int]) -> int:
    usual: int | None = next((code for flag, code in _BY_FLAG if values[flag]), None)
    if usual is not None and usual not in used:
        return usual
    highest = max((code for code in used if _INITIAL <= code < _FINAL), default=_INITIAL)
    usual_steps, steps = range(_STEP, _FINAL, _STEP), range(_STEP, _LARGEST, _STEP)
    wanted = chain((step for step in usual_steps if step > highest), usual_steps, steps)
    free: int | None = next((step for step in wanted if step not in {*used, _FINAL}), None)
    if free is None:
        raise ConflictError("The project has no free code left; choose one.")
    return free
