"""The artifacts of a build as `bldst` sees them: references to what is stored elsewhere, and uploaded files."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shuttle.build import Build
from shuttle.errors import ConflictError, InvalidRequestError, NotFoundError
from shuttle.store.tables import artifacts
from shuttle.store.tx import Tx

MAX_OF_RECORD = 1000


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
        InvalidRequestError: the build has another artifact of that name. ConflictError: it has too many.
    """
    rows = _all_rows(tx, build.build_uuid)
    live = {row.name: row for row in rows if row.deleted_at is None}
    code = new.state_code if new.state_code is not None else build.state_code or 0
    kind = new.reference["artifact_type"]
    for row in live.values():
        named = row.name == new.name or (new.name is None and row.reference is not None and row.name.startswith(kind))
        # A repeat that names the artifact, but no state, may come when the build is in another state than at first.
        same_code = row.state_code if new.name is not None and new.state_code is None else code
        if named and _said(row) == (new.reference, same_code, new.resumable, new.final, new.expires_at):
            return row, False
    if new.name in live:
        raise InvalidRequestError(f"Artifact with name '{new.name}' already exists for this build")
    name = new.name or _free_name(kind, {row.name for row in rows if row.deleted_at is None or row.reference is None})
    _forget_hidden(tx, build.build_uuid, name, rows)
    if len({row.name for row in rows} - {name}) >= MAX_OF_RECORD:
        raise ConflictError(f"A build may have at most {MAX_OF_RECORD} artifacts, deleted ones included.")
    artifact_id = str(uuid.uuid4())
    values = {
        "build_uuid": build.build_uuid,
        "name": name,
        "artifact_id": artifact_id,
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
    tx.execute(artifacts.insert(), values)
    return known_artifact(tx, build.build_uuid, artifact_id), True


def replace_reference(tx: Tx, build: Build, new: NewReference) -> None:
    """Record the reference; another one of that name is replaced by it.

    The caller has locked the build.

    Raises:
        InvalidRequestError: an uploaded file has the name. ConflictError: the build has too many artifacts.
    """
    known = next((row for row in references_and_files(tx, build.build_uuid) if row.name == new.name), None)
    if known is None or known.reference is None:
        add_reference(tx, build, new)
    elif known.reference != new.reference:
        values = {"reference": dict(new.reference), "size_bytes": new.reference.get("size_bytes") or 0}
        change_artifact(tx, build.build_uuid, known, values)


def _forget_hidden(tx: Tx, build_uuid: str, name: str, rows: Sequence[ArtifactRow]) -> None:
    """Remove the row of a deleted reference that had the name, because another one gets it.

    The row of a deleted file stays: its bytes are stored as long as the build, and count for the build's limits.

    Raises InvalidRequestError: a deleted file had the name.
    """
    hidden = next((row for row in rows if row.name == name and row.deleted_at is not None), None)
    if hidden is None:
        return
    if hidden.reference is None:
        raise InvalidRequestError(f"A deleted file had the name '{name}'; choose another name.")
    tx.execute(artifacts.delete().where(artifacts.c.build_uuid == build_uuid, artifacts.c.name == name))


def _said(row: ArtifactRow) -> tuple[object, ...]:
    return row.reference, row.state_code, row.resumable, row.final, row.expires_at


def _free_name(kind: str, taken: Collection[str]) -> str:
    names = (kind if number == 1 else f"{kind}-{number}" for number in range(1, MAX_OF_RECORD + 2))
    return next(name for name in names if name not in taken)


def _all_rows(tx: Tx, build_uuid: str) -> list[ArtifactRow]:
    """The build's artifacts, the oldest first, deleted ones included."""
    query = sa.select(artifacts).where(artifacts.c.build_uuid == build_uuid)
    return [_row(each) for each in tx.execute(query.order_by(artifacts.c.created_at, artifacts.c.name))]


def references_and_files(tx: Tx, build_uuid: str, which: ArtifactFilter | None = None) -> list[ArtifactRow]:
    """The build's artifacts, the oldest first, without deleted ones."""
    found = [row for row in _all_rows(tx, build_uuid) if row.deleted_at is None]
    return found if which is None else [row for row in found if _passes(row, which)]


def _passes(row: ArtifactRow, which: ArtifactFilter) -> bool:
    kind = "file" if row.reference is None else row.reference["artifact_type"]
    wanted = (
        (which.state_code, row.state_code),
        (which.kind, kind),
        (which.resumable, row.resumable),
        (which.final, row.final),
    )
    return all(want is None or want == value for want, value in wanted)


def known_artifact(tx: Tx, build_uuid: str, artifact_id: str) -> ArtifactRow:
    """The artifact of this id or name; raises NotFoundError if there is none, or if it was deleted."""
    for row in references_and_files(tx, build_uuid):
        if artifact_id.lower() == row.artifact_id or artifact_id == row.name:
            return row
    raise NotFoundError("Artifact not found")


def change_artifact(tx: Tx, build_uuid: str, row: ArtifactRow, values: Mapping[str, Any]) -> ArtifactRow:
    """Change columns of the artifact; raises InvalidRequestError if its name cannot be changed to the given one."""
    same = (artifacts.c.build_uuid == build_uuid, artifacts.c.name == row.name)
    name = values.get("name", row.name)
    if name != row.name:
        rows = _all_rows(tx, build_uuid)
        if any(other.name == name and other.deleted_at is None for other in rows):
            raise InvalidRequestError(f"Artifact with name '{name}' already exists for this build")
        if row.reference is None:
            raise InvalidRequestError("An uploaded file keeps its name.")
        _forget_hidden(tx, build_uuid, name, rows)
    changed = {**values, "artifact_id": row.artifact_id, "updated_at": tx.now.at}
    tx.execute(artifacts.update().where(*same).values(changed))
    return known_artifact(tx, build_uuid, row.artifact_id)


def delete_artifact(tx: Tx, build_uuid: str, row: ArtifactRow) -> None:
    """Hide the artifact. The bytes of an uploaded file are deleted together with the build."""
    same = (artifacts.c.build_uuid == build_uuid, artifacts.c.name == row.name)
    tx.execute(artifacts.update().where(*same).values(deleted_at=tx.now.at))


def _row(row: Any) -> ArtifactRow:
    """The id of an uploaded file is derived from build and name; its first change records the id."""
    return ArtifactRow(
        artifact_id=row.artifact_id or str(uuid.uuid5(uuid.UUID(row.build_uuid), row.name)),
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
