"""Projects: every app is one, also an app that builds have created. A project can exist before its first build."""

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shuttle.build import Api, project_id_of
from shuttle.errors import ConflictError, InvalidRequestError, NotFoundError
from shuttle.request import UUID
from shuttle.store.prepared import Prepared, padded
from shuttle.store.records import DEFAULT_PROJECT
from shuttle.store.references import lock_names
from shuttle.store.tables import apps
from shuttle.store.tx import Tx

# How many apps get their project's id at once, so that the transaction is short.
_ASSIGNED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Project:
    """An app as a project. `parent_id` is the uuid of another one."""

    app_id: str
    project_id: str
    description: str | None
    parent_id: str | None
    created_at: datetime
    updated_at: datetime
    deactivated_at: datetime | None


_COLUMNS = [apps.c[field.name] for field in fields(Project)]
_INSERT = insert(apps).on_conflict_do_nothing(index_elements=["app_id"]).returning(apps.c.app_id)


def create_project(
    tx: Tx, app_id: str, job_name: str, *, description: str | None = None, parent: str | None = None
) -> tuple[Project, bool]:
    """Record a project; returns it and whether it is new. `parent` is a uuid or a name.

    A deleted project of that name is restored, and counts as new.

    Raises:
        ConflictError: there is one of that name with another description or parent. NotFoundError: no such parent.
        InvalidRequestError: the restored project would contain itself.
    """
    above = None if parent is None else _locked_parent(tx, parent)
    parent_id = None if above is None else above.project_id
    row = {"app_id": app_id, "api": Api.NEW.value, "job_name": job_name, "created_at": tx.now.at}
    row |= {"project_id": project_id_of(app_id), "description": description, "parent_id": parent_id}
    if tx.execute(_INSERT, row).first() is not None:
        return known_project(tx, app_id), True
    known = _locked(tx, app_id)
    if known.deactivated_at is not None:
        _check_line(tx, known, above)
        changes = {"description": description, "parent_id": parent_id, "deactivated_at": None}
        return _update(tx, known, changes), True
    if (known.description, known.parent_id) != (description, parent_id):
        raise ConflictError(f"Project '{app_id}' exists with another description or parent; update it instead.")
    return known, False


def find_project(tx: Tx, key: str) -> Project | None:
    """The project with this uuid or name, also a deleted one; a uuid takes precedence.

    `default` exists before its first record as well, because records that name no project are in it.
    """
    if UUID.fullmatch(key):
        of_uuid = _first(tx, apps.c.project_id == key.lower()) or _assigned(tx, key.lower())
        if of_uuid is not None:
            return of_uuid
    named = _first(tx, apps.c.app_id == key)
    is_default = key == DEFAULT_PROJECT or key.lower() == project_id_of(DEFAULT_PROJECT)
    return _default_project(tx) if named is None and is_default else named


def _default_project(tx: Tx) -> Project:
    """The project `default` as long as no record has created its app."""
    return Project(DEFAULT_PROJECT, project_id_of(DEFAULT_PROJECT), None, None, tx.now.at, tx.now.at, None)


def known_project(tx: Tx, key: str) -> Project:
    """The project that `find_project` finds; raises NotFoundError if there is none."""
    found = find_project(tx, key)
    if found is None:
        raise NotFoundError("Project not found")
    return found


def referred_project(tx: Tx, key: str) -> Project:
    """The project that a new build names; raises NotFoundError, also for a deleted one."""
    found = find_project(tx, key)
    if found is None or found.deactivated_at is not None:
        raise NotFoundError(f"Project with id '{key}' not found")
    return found


def projects_of_apps(tx: Tx, app_ids: Collection[str]) -> dict[str, Project]:
    """The projects of these apps, by name."""
    if not app_ids:
        return {}
    wanted = padded([*app_ids])
    values = {f"a_{index}": app_id for index, app_id in enumerate(wanted)}
    return {project.app_id: project for project in map(_from_row, _of_apps(len(wanted)).fetch(tx, values))}


@cache
def _of_apps(count: int) -> Prepared:
    wanted = [sa.bindparam(f"a_{index}", type_=sa.Text) for index in range(count)]
    return Prepared(sa.select(*_COLUMNS).where(apps.c.app_id.in_(wanted)))


def page_of_projects(tx: Tx, *, skip: int, limit: int, with_deactivated: bool = False) -> list[Project]:
    """Projects in the order of their creation; deleted ones only `with_deactivated`."""
    query = sa.select(*_COLUMNS)
    if not with_deactivated:
        query = query.where(apps.c.deactivated_at.is_(None))
    return [
        _from_row(row) for row in tx.execute(query.order_by(apps.c.created_at, apps.c.app_id).offset(skip).limit(limit))
    ]


def change_project(tx: Tx, key: str, *, description: str | None = None, parent: str | None = None) -> Project:
    """Change description or parent; None = unchanged.

    Raises:
        NotFoundError: there is no such project or parent. InvalidRequestError: the project would contain itself.
    """
    above = None if parent is None else _locked_parent(tx, parent)
    known = _locked(tx, known_project(tx, key).app_id)
    changes: dict[str, Any] = {} if description is None else {"description": description}
    if above is not None:
        _check_line(tx, known, above)
        changes["parent_id"] = above.project_id
    return _update(tx, known, changes)


def deactivate_project(tx: Tx, key: str) -> None:
    """Delete the project: lists leave it out, and no record can be created in it. Its builds remain.

    Raises NotFoundError.
    """
    known = _locked(tx, known_project(tx, key).app_id)
    if known.deactivated_at is None:
        _update(tx, known, {"deactivated_at": tx.now.at})


def _locked_parent(tx: Tx, key: str) -> Project:
    """The project of this key. Until the end of the transaction no other one changes parents: two could make a ring."""
    lock_names(tx)
    return referred_project(tx, key)


def _check_line(tx: Tx, project: Project, above: Project | None) -> None:
    if above is not None and project.project_id in _line_of(tx, above):
        raise InvalidRequestError("Choose another parent: a project cannot contain itself.", field="parent_project_id")


def _line_of(tx: Tx, project: Project) -> set[str]:
    """The uuids of the project, its parent, and so on."""
    line = {project.project_id}
    while project.parent_id is not None and project.parent_id not in line:
        above = find_project(tx, project.parent_id)
        if above is None:
            break
        project = above
        line.add(project.project_id)
    return line


def _assigned(tx: Tx, project_id: str) -> Project | None:
    """The project of an app that has no recorded uuid yet: builds create apps without one."""
    unassigned = list(tx.execute(sa.select(apps.c.app_id).where(apps.c.project_id.is_(None))).scalars())
    if not unassigned:
        return None
    found = next((app_id for app_id in unassigned if project_id_of(app_id) == project_id), None)
    assigned = {*unassigned[:_ASSIGNED_AT_ONCE], *([] if found is None else [found])}
    statement = apps.update().where(apps.c.app_id == sa.bindparam("of_app")).values(project_id=sa.bindparam("uuid"))
    # Sorted, so that two transactions cannot deadlock.
    tx.execute(statement, [{"of_app": app_id, "uuid": project_id_of(app_id)} for app_id in sorted(assigned)])
    return None if found is None else _first(tx, apps.c.app_id == found)


def _first(tx: Tx, condition: sa.ColumnElement[bool]) -> Project | None:
    row = tx.execute(sa.select(*_COLUMNS).where(condition)).first()
    return None if row is None else _from_row(row)


def _locked(tx: Tx, app_id: str) -> Project:
    query = sa.select(*_COLUMNS).where(apps.c.app_id == app_id).with_for_update(key_share=True)
    row = tx.execute(query).first()
    if row is None:
        raise NotFoundError(f"The project {app_id} has no build yet; create it before you change or delete it.")
    return _from_row(row)


def _update(tx: Tx, known: Project, changes: dict[str, Any]) -> Project:
    row = {**changes, "project_id": known.project_id, "updated_at": tx.now.at}
    tx.execute(apps.update().where(apps.c.app_id == known.app_id).values(row))
    return known_project(tx, known.app_id)


def _from_row(row: Any) -> Project:
    """A row of _COLUMNS."""
    known = Project(*row)
    return replace(
        known,
        project_id=known.project_id or project_id_of(known.app_id),
        updated_at=known.updated_at or known.created_at,
    )
