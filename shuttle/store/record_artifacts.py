"""The artifacts of a build as `bldst` sees them: references to what is stored elsewhere, and uploaded files."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shuttle.build import Build
from shuttle.errors import ConflictError, InvalidRequestError, NotFoundError
from shuttle.request import UUID
from shuttle.store.record_sizes import check_size
from shuttle.store.tables import artifacts
from shuttle.store.tx import Tx

MAX_OF_RECORD = 1000
_PATTERN_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class ArtifactRow:
    """An artifact; `reference` None = an uploaded file."""

    artifact_id: str
    name: str
    reference: Mapping[str, Any] | None
    size_bytes: int
    sha256: str
    content_type: str
    state_code: int | None
    resumable: bool
    final: bool
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime | None
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewReference:
    """An artifact to record. `name` None = it is named after its type, with a number if that name is taken."""

    name: str | None
    reference: Mapping[str, Any]
    state_code: int | None
    resumable: bool
    final: bool
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class ArtifactFilter:
    """Which artifacts are listed; None = all."""

    state_code: int | None = None
    kind: str | None = None
    resumable: bool | None = None
    final: bool | None = None


def add_reference(tx: Tx, build: Build, new: NewReference) -> tuple[ArtifactRow, bool]:
    """Record the reference; returns it and whether it is new: an equal one is not recorded again.

    The caller has locked the build.

    Raises:
        InvalidRequestError: the build has another artifact of that name.
        ConflictError: it has too many, or their references are too large.
    """
    code = new.state_code if new.state_code is not None else build.state_code or 0
    known = _equal_one(tx, build.build_uuid, new, code)
    if known is not None:
        return known, False
    name = new.name or _free_name(tx, build.build_uuid, new.reference["artifact_type"])
    _take_name(tx, build.build_uuid, name)
    if _count_of_others(tx, build.build_uuid, name) >= MAX_OF_RECORD:
        raise ConflictError(f"A build may have at most {MAX_OF_RECORD} artifacts, deleted ones included.")
    check_size(tx, artifacts, build.build_uuid, {"reference": new.reference}, artifacts.c.name != name)
    values = {
        "build_uuid": build.build_uuid,
        "name": name,
        "artifact_id": str(uuid.uuid4()),
        "reference": dict(new.reference),
        "size_bytes": new.reference.get("size_bytes") or 0,
        "sha256": "",
        "content_type": "",
        "state_code": code,
        "resumable": new.resumable,
        "final": new.final,
        "expires_at": new.expires_at,
        "created_at": tx.now.at,
        "updated_at": tx.now.at,
    }
    return _row(tx.execute(artifacts.insert().returning(artifacts), values).one()), True


def _equal_one(tx: Tx, build_uuid: str, new: NewReference, code: int | None) -> ArtifactRow | None:
    """The artifact that equal calls have recorded, the oldest one; a call without a name had any name of its type."""
    if new.name is not None:
        named = _named(tx, build_uuid, new.name)
        rows = [] if named is None or named.deleted_at is not None else [named]
        # A repeat that names the artifact, but no state, may come when the build is in another state than at first.
        code = rows[0].state_code if rows and new.state_code is None else code
    else:
        rows = _rows(tx, build_uuid, *_like(new.reference), artifacts.c.state_code == code)
    told = (new.reference, code, new.resumable, new.final, new.expires_at)
    return next((row for row in rows if _said(row) == told), None)


def _like(reference: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    """Conditions that hold for each live reference that equals this one, and for few others.

    The text of the column is compared, because PostgreSQL cannot read a field of JSON that has a NUL anywhere. SQLite
    limits a pattern to 50,000 bytes.
    """
    conditions = [
        artifacts.c.deleted_at.is_(None),
        artifacts.c.name.startswith(reference["artifact_type"], autoescape=True),
    ]
    text = sa.cast(artifacts.c.reference, sa.Text)
    for name in ("artifact_path", "storage_key", "checksum"):
        if name in reference:
            field = json.dumps({name: reference[name]})[1:-1]
            conditions.append(text.contains(field[:_PATTERN_CHARACTERS], autoescape=True))
    return conditions


def _count_of_others(tx: Tx, build_uuid: str, name: str) -> int:
    others = (artifacts.c.build_uuid == build_uuid, artifacts.c.name != name)
    count: int = tx.execute(sa.select(sa.func.count()).select_from(artifacts).where(*others)).scalar_one()
    return count


def replace_reference(tx: Tx, build: Build, new: NewReference) -> None:
    """Record the reference; another one of that name is replaced by it.

    The caller has locked the build.

    Raises:
        InvalidRequestError: an uploaded file has the name. ConflictError: the build has too many artifacts.
    """
    known = None if new.name is None else _named(tx, build.build_uuid, new.name)
    if known is None or known.deleted_at is not None or known.reference is None:
        add_reference(tx, build, new)
    elif known.reference != new.reference:
        values = {"reference": dict(new.reference), "size_bytes": new.reference.get("size_bytes") or 0}
        change_artifact(tx, build.build_uuid, known, values)


def _take_name(tx: Tx, build_uuid: str, name: str) -> None:
    """Check that no artifact has the name, and remove the row of a deleted reference that had it.

    The row of a deleted file stays: its bytes are stored as long as the build, and count for the build's limits.

    Raises InvalidRequestError: an artifact has the name, or a deleted file had it.
    """
    known = _named(tx, build_uuid, name)
    if known is None:
        return
    if known.deleted_at is None:
        raise InvalidRequestError(f"Artifact with name '{name}' already exists for this build")
    if known.reference is None:
        raise InvalidRequestError(f"A deleted file had the name '{name}'; choose another name.")
    tx.execute(artifacts.delete().where(artifacts.c.build_uuid == build_uuid, artifacts.c.name == name))


def _said(row: ArtifactRow) -> tuple[object, ...]:
    return row.reference, row.state_code, row.resumable, row.final, row.expires_at


def _free_name(tx: Tx, build_uuid: str, kind: str) -> str:
    """The first of the type, `type-2`, `type-3` and so on that is free; a deleted reference leaves its name."""
    kept = sa.or_(artifacts.c.deleted_at.is_(None), artifacts.c.reference.is_(None))
    query = sa.select(artifacts.c.name).where(artifacts.c.build_uuid == build_uuid, kept)
    taken = set(tx.execute(query.where(artifacts.c.name.startswith(kind, autoescape=True))).scalars())
    names = (kind if number == 1 else f"{kind}-{number}" for number in range(1, MAX_OF_RECORD + 2))
    return next(name for name in names if name not in taken)


def _rows(tx: Tx, build_uuid: str, *conditions: sa.ColumnElement[bool]) -> list[ArtifactRow]:
    """The build's artifacts for which the conditions hold, the oldest first."""
    query = sa.select(artifacts).where(artifacts.c.build_uuid == build_uuid, *conditions)
    return [_row(each) for each in tx.execute(query.order_by(artifacts.c.created_at, artifacts.c.name))]


def _named(tx: Tx, build_uuid: str, name: str) -> ArtifactRow | None:
    """The artifact of this name, also a deleted one."""
    return next(iter(_rows(tx, build_uuid, artifacts.c.name == name)), None)


def references_and_files(tx: Tx, build_uuid: str, which: ArtifactFilter | None = None) -> list[ArtifactRow]:
    """The build's artifacts, the oldest first, without deleted ones."""
    found = _rows(tx, build_uuid, artifacts.c.deleted_at.is_(None))
    return found if which is None else [row for row in found if _passes(row, which)]


def _passes(row: ArtifactRow, which: ArtifactFilter) -> bool:
    kind = "file" if row.reference is None else row.reference["artifact_type"]
    wanted = (
        (which.state_code, row.state_code or 0),  # as it is shown
        (which.kind, kind),
        (which.resumable, row.resumable),
        (which.final, row.final),
    )
    return all(want is None or want == value for want, value in wanted)


def known_artifact(tx: Tx, build_uuid: str, artifact_id: str) -> ArtifactRow:
    """The artifact of this id or name; raises NotFoundError if there is none, or if it was deleted."""
    found = _named(tx, build_uuid, artifact_id)
    if (found is None or found.deleted_at is not None) and UUID.fullmatch(artifact_id):
        found = _of_id(tx, build_uuid, artifact_id.lower())
    if found is None or found.deleted_at is not None:
        raise NotFoundError("Artifact not found")
    return found


def _of_id(tx: Tx, build_uuid: str, artifact_id: str) -> ArtifactRow | None:
    rows = _rows(tx, build_uuid, artifacts.c.artifact_id == artifact_id)
    if not rows:  # an uploaded file whose id is not recorded; see `_row`
        files = (artifacts.c.build_uuid == build_uuid, artifacts.c.artifact_id.is_(None))
        names = tx.execute(sa.select(artifacts.c.name).where(*files)).scalars()
        found = next((name for name in names if _derived_id(build_uuid, name) == artifact_id), None)
        return None if found is None else _named(tx, build_uuid, found)
    return rows[0]


def change_artifact(tx: Tx, build_uuid: str, row: ArtifactRow, values: Mapping[str, Any]) -> ArtifactRow:
    """Change columns of the artifact.

    Raises:
        InvalidRequestError: its name cannot be changed to the given one.
        ConflictError: the references of the build would be too large.
    """
    same = (artifacts.c.build_uuid == build_uuid, artifacts.c.name == row.name)
    name = values.get("name", row.name)
    if name != row.name:
        if row.reference is None:
            raise InvalidRequestError("An uploaded file keeps its name.")
        _take_name(tx, build_uuid, name)
    check_size(tx, artifacts, build_uuid, values, artifacts.c.name != row.name)
    changed = {**values, "artifact_id": row.artifact_id, "updated_at": tx.now.at}
    return _row(tx.execute(artifacts.update().where(*same).values(changed).returning(artifacts)).one())


def delete_artifact(tx: Tx, build_uuid: str, row: ArtifactRow) -> None:
    """Hide the artifact. The bytes of an uploaded file are deleted together with the build."""
    same = (artifacts.c.build_uuid == build_uuid, artifacts.c.name == row.name)
    tx.execute(artifacts.update().where(*same).values(deleted_at=tx.now.at))


def _row(row: Any) -> ArtifactRow:
    """The id of an uploaded file is derived from build and name; its first change records the id."""
    return ArtifactRow(
        artifact_id=row.artifact_id or _derived_id(row.build_uuid, row.name),
        name=row.name,
        reference=row.reference,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        content_type=row.content_type,
        state_code=row.state_code,
        resumable=row.reference is None if row.resumable is None else row.resumable,
        final=bool(row.final),
        expires_at=row.expires_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        deleted_at=row.deleted_at,
    )


def _derived_id(build_uuid: str, name: str) -> str:
    return str(uuid.uuid5(uuid.UUID(build_uuid), name))
