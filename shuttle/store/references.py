"""Reference data: what builds and projects refer to by an id, such as platforms and state codes.

A label of a build may name a platform, for example, that nobody has created. When the build is shown, the platform gets
a row in the scope LABELS, so that the shown id is valid. If the platform is created later, it keeps this id. No list
has the rows of this scope.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any

import sqlalchemy as sa

from shuttle.errors import ConflictError, NotFoundError
from shuttle.store.prepared import Prepared, padded
from shuttle.store.tables import reference
from shuttle.store.tx import Tx


class Kind(StrEnum):
    """The kind of a reference; the first six are also the names of labels."""

    PLATFORM = "platform"
    OS_VERSION = "os_version"
    IMAGE_TYPE = "image_type"
    CLOUD_PROVIDER = "cloud_provider"
    OS_DISTRIBUTION = "os_distribution"
    IMAGE_VARIANT = "image_variant"
    STATE_CODE = "state_code"
    RESUMABLE_STATE = "resumable_state"

    @property
    def noun(self) -> str:
        """The name of the kind in errors, like `OS version`."""
        words = self.value.replace("_", " ")
        return words.replace("os ", "OS ") if words.startswith("os ") else words.capitalize()


LABELS = "label"
# The label of a build that names no platform, version of a system or type of image.
UNSPECIFIED = "unspecified"
# A label with a longer name gets no row, because PostgreSQL limits the length of an indexed text.
MAX_NAME_CHARACTERS = 128

# The namespace of the ids: any fixed uuid.
_REFERENCES = uuid.UUID("0c7a2d5e-3b0f-4f57-8a4e-6d1f9b3c2e70")
# The number of the advisory lock: "names" as ASCII.
_NAMES = 0x6E616D6573


@dataclass(frozen=True, slots=True)
class Reference:
    """One row. `scope` is a project's uuid for state codes and resumable states, else empty, or LABELS."""

    reference_id: str
    kind: Kind
    scope: str
    name: str
    fields: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    deactivated_at: datetime | None


REFERENCE_COLUMNS = [reference.c[field.name] for field in fields(Reference)]
_ACTIVE = reference.c.deactivated_at.is_(None)


def id_of(kind: Kind, name: str, scope: str = "") -> str:
    """The uuid that a new row gets, unless a row that was renamed still has it."""
    return str(uuid.uuid5(_REFERENCES, "\n".join((kind, *([scope] if scope else []), name))))


def create_reference(
    tx: Tx, kind: Kind, name: str, values: Mapping[str, Any], scope: str = ""
) -> tuple[Reference, bool]:
    """Record a row; returns it and whether it is new. A deleted row of that name is restored, and counts as new.

    Raises:
        ConflictError: there is a row of that name with other fields.
    """
    lock_names(tx)
    known = _named(tx, kind, scope, name) or (None if scope else _named(tx, kind, LABELS, name))
    if known is None:
        return _insert(tx, scope, [(kind, name)], values)[kind, name], True
    if known.scope == scope and known.deactivated_at is None:
        if dict(known.fields) != dict(values):
            raise ConflictError(f"{kind.noun} '{name}' exists with other fields; update it instead.")
        return known, False
    row = {"scope": scope, "fields": dict(values), "updated_at": tx.now.at, "deactivated_at": None}
    if known.scope == LABELS:
        row["created_at"] = tx.now.at
    return _update(tx, known, row), True


def find_reference(tx: Tx, kind: Kind, key: str, scope: str = "") -> Reference | None:
    """The row with this id or name that is not deleted; an id takes precedence."""
    named = sa.or_(reference.c.reference_id == key.lower(), reference.c.name == key)
    query = sa.select(*REFERENCE_COLUMNS).where(reference.c.kind == kind, reference.c.scope == scope, _ACTIVE, named)
    found = [from_row(row) for row in tx.execute(query)]
    return next(iter(sorted(found, key=lambda each: each.name == key and each.reference_id != key.lower())), None)


def known_reference(tx: Tx, kind: Kind, key: str, scope: str = "") -> Reference:
    """The row that `find_reference` finds. Raises NotFoundError if there is none."""
    found = find_reference(tx, kind, key, scope)
    if found is None:
        raise NotFoundError(f"{kind.noun} not found")
    return found


def referred(tx: Tx, kind: Kind, key: str) -> Reference:
    """The row that a new build names by its id or name, or by the id of a row of LABELS. Raises NotFoundError."""
    found = find_reference(tx, kind, key)
    if found is None:
        shown = (reference.c.kind == kind, reference.c.scope == LABELS, reference.c.reference_id == key.lower())
        row = tx.execute(sa.select(*REFERENCE_COLUMNS).where(*shown)).first()
        found = None if row is None else from_row(row)
    if found is None:
        raise NotFoundError(f"{kind.noun} with id '{key}' not found")
    return found


def page_of_references(
    tx: Tx, kind: Kind, scope: str = "", *, skip: int, limit: int, with_deactivated: bool = False
) -> list[Reference]:
    """The rows of the kind in the order of their creation; deleted ones only `with_deactivated`."""
    query = sa.select(*REFERENCE_COLUMNS).where(reference.c.kind == kind, reference.c.scope == scope)
    if not with_deactivated:
        query = query.where(_ACTIVE)
    query = query.order_by(reference.c.created_at, reference.c.name).offset(skip).limit(limit)
    return [from_row(row) for row in tx.execute(query)]


def change_reference(
    tx: Tx, kind: Kind, key: str, values: Mapping[str, Any], *, name: str | None = None, scope: str = ""
) -> Reference:
    """Change these fields, and perhaps the name.

    Raises:
        NotFoundError: there is no such row. ConflictError: another one has the name.
    """
    lock_names(tx)
    known = known_reference(tx, kind, key, scope)
    changes: dict[str, Any] = {"fields": {**known.fields, **values}, "updated_at": tx.now.at}
    if name is not None and name != known.name:
        if _named(tx, kind, scope, name) is not None:
            raise ConflictError(f"{kind.noun} '{name}' exists already, perhaps as a deleted one; choose another name.")
        changes["name"] = name
    return _update(tx, known, changes)


def deactivate_reference(tx: Tx, kind: Kind, key: str, scope: str = "") -> None:
    """Delete it; builds that refer to it still show it. Raises NotFoundError."""
    lock_names(tx)
    _update(tx, known_reference(tx, kind, key, scope), {"deactivated_at": tx.now.at, "updated_at": tx.now.at})


def references_of_labels(tx: Tx, labels: Collection[tuple[Kind, str]]) -> dict[tuple[Kind, str], Reference]:
    """The row of each label (kind and name), also a deleted one; a missing row is created in the scope LABELS."""
    wanted = [label for label in dict.fromkeys(labels) if len(label[1]) <= MAX_NAME_CHARACTERS]
    found = _references_of(tx, wanted)
    missing = [label for label in wanted if label not in found]
    if missing:
        lock_names(tx)
        found |= _references_of(tx, missing)  # another transaction may have been first
        still_missing = [label for label in missing if label not in found]
        found |= _insert(tx, LABELS, still_missing, {}) if still_missing else {}
    long = (label for label in labels if label not in found)
    return found | {label: _new_row(tx, id_of(*label), LABELS, label, {}) for label in long}


def _references_of(tx: Tx, labels: Sequence[tuple[Kind, str]]) -> dict[tuple[Kind, str], Reference]:
    if not labels:
        return {}
    wanted = padded(labels)
    kinds = {f"k_{index}": kind.value for index, (kind, _) in enumerate(wanted)}
    values = kinds | {f"n_{index}": name for index, (_, name) in enumerate(wanted)}
    return {(each.kind, each.name): each for each in map(from_row, _of_labels(len(wanted)).fetch(tx, values))}


@cache
def _of_labels(count: int) -> Prepared:
    wanted = [
        sa.tuple_(sa.bindparam(f"k_{index}", type_=sa.Text), sa.bindparam(f"n_{index}", type_=sa.Text))
        for index in range(count)
    ]
    named = sa.tuple_(reference.c.kind, reference.c.name).in_(wanted)
    shown = reference.c.scope.in_([sa.literal(""), sa.literal(LABELS)])
    # A row of scope "" comes last, and so replaces a row of LABELS.
    return Prepared(sa.select(*REFERENCE_COLUMNS).where(named, shown).order_by(reference.c.scope.desc()))


def lock_names(tx: Tx) -> None:
    """Wait until no other transaction creates or renames references. SQLite needs no lock, as it has one writer."""
    if not tx.alone:
        tx.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_NAMES)))


def _named(tx: Tx, kind: Kind, scope: str, name: str) -> Reference | None:
    which = (reference.c.kind == kind, reference.c.scope == scope, reference.c.name == name)
    row = tx.execute(sa.select(*REFERENCE_COLUMNS).where(*which)).first()
    return None if row is None else from_row(row)


def _insert(
    tx: Tx, scope: str, named: Sequence[tuple[Kind, str]], values: Mapping[str, Any]
) -> dict[tuple[Kind, str], Reference]:
    """Insert a row with these fields for each kind and name."""
    ids = {label: id_of(*label, "" if scope == LABELS else scope) for label in named}
    query = sa.select(reference.c.reference_id).where(reference.c.reference_id.in_(ids.values()))
    taken = set(tx.execute(query).scalars())
    new = {
        label: _new_row(tx, str(uuid.uuid4()) if reference_id in taken else reference_id, scope, label, values)
        for label, reference_id in ids.items()
    }
    rows = [{column.name: getattr(row, column.name) for column in REFERENCE_COLUMNS} for row in new.values()]
    tx.execute(reference.insert(), rows)
    return new


def _new_row(tx: Tx, reference_id: str, scope: str, label: tuple[Kind, str], values: Mapping[str, Any]) -> Reference:
    return Reference(reference_id, label[0], scope, label[1], dict(values), tx.now.at, tx.now.at, None)


def _update(tx: Tx, known: Reference, changes: Mapping[str, Any]) -> Reference:
    which = reference.c.reference_id == known.reference_id
    tx.execute(reference.update().where(which).values(changes))
    return from_row(tx.execute(sa.select(*REFERENCE_COLUMNS).where(which)).one())


def from_row(row: Any) -> Reference:
    """A row of REFERENCE_COLUMNS."""
    return Reference(row[0], Kind(row[1]), *row[2:])
