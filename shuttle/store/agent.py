"""The reports, artifacts and variables that a build's agent sends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shuttle.build import Build
from shuttle.errors import ConflictError, GoneError
from shuttle.store.builds import Artifact, lock_build
from shuttle.store.platforms import explain_platform
from shuttle.store.record_artifacts import NewReference, add_reference
from shuttle.store.record_variables import put_variable
from shuttle.store.tables import artifacts, builds, reports, variables
from shuttle.store.tx import Tx

# A usual build needs few reports: one for a failure, and one for each image.
MAX_REPORTS = 100
# The size of all reports of a build, encrypted as they are stored.
MAX_REPORTS_BYTES = 1024 * 1024
MAX_VARIABLES = 100

_NEW_REPORT = insert(reports).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


@dataclass(frozen=True, slots=True)
class ArtifactLimits:
    """The number and the total size of the artifacts that a build may upload."""

    max_count: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason for the failure that the pipeline reports: a stable code, and a sentence for people."""

    reason: str
    message: str | None


def lock_unfinished(tx: Tx, build_uuid: str) -> Build:
    """Lock and return the build, which may have ended since the agent's call began.

    Raises:
        GoneError: the build is final.
    """
    build = lock_build(tx, build_uuid)
    if build is None or build.state.final:
        raise GoneError("The build is over: it accepts nothing more.")
    return build


def record_report(
    tx: Tx,
    build_uuid: str,
    report_id: str,
    body: bytes,
    *,
    branch: str = "",
    failure: Failure | None,
    facts: dict[str, Any],
    values: dict[str, str],
    seal: Callable[[bytes], bytes],
    references: Sequence[NewReference] = (),
) -> bool:
    """Record a report; False = a report with this id is recorded already, and nothing was changed.

    Only the first `failure` of a build is kept. If `branch` is that of a platform, its record keeps the first failure
    of this branch. `facts` are columns of the build (image, digest), `values` are variables; both replace earlier ones.
    `seal` encrypts the value of a sensitive variable. `references` are artifacts that are stored elsewhere.

    Raises:
        GoneError: the build is over.
        ConflictError: MAX_REPORTS, MAX_REPORTS_BYTES or MAX_VARIABLES is exceeded, or the build has too many artifacts.
    """
    build = lock_unfinished(tx, build_uuid)
    mine = (reports.c.build_uuid == build_uuid, reports.c.report_id == report_id)
    if tx.execute(sa.select(reports.c.report_id).where(*mine)).first() is not None:
        return False
    _check_limits(tx, build_uuid, len(body), values)
    row = {"build_uuid": build_uuid, "report_id": report_id, "body": body, "created_at": tx.now.at}
    if tx.execute(_NEW_REPORT, row).rowcount == 0:
        return False
    of_build = builds.update().where(builds.c.build_uuid == build_uuid)
    if failure is not None:
        explained = {"report_reason": failure.reason, "report_message": failure.message}
        tx.execute(of_build.where(builds.c.report_reason.is_(None)).values(explained))
        explain_platform(tx, build, branch, failure.reason, failure.message)
    if facts:
        tx.execute(of_build.values(facts))
    for name, value in values.items():
        put_variable(tx, build_uuid, name, {"value": value}, seal)
    for reference in references:
        add_reference(tx, build, reference)
    return True


def _check_limits(tx: Tx, build_uuid: str, size_bytes: int, values: dict[str, str]) -> None:
    of_build = reports.c.build_uuid == build_uuid
    sizes = sa.func.coalesce(sa.func.sum(sa.func.length(reports.c.body)), 0)
    count, bytes_before = tx.execute(sa.select(sa.func.count(), sizes).where(of_build)).one()
    if count >= MAX_REPORTS:
        raise ConflictError(f"A build may send at most {MAX_REPORTS} reports; combine them.")
    if bytes_before + size_bytes > MAX_REPORTS_BYTES:
        raise ConflictError(
            f"The encrypted reports of a build may have at most {MAX_REPORTS_BYTES} bytes together; shorten them."
        )
    if values:
        others = (variables.c.build_uuid == build_uuid, variables.c.name.not_in(values))
        known = tx.execute(sa.select(sa.func.count()).select_from(variables).where(*others)).scalar_one()
        if known + len(values) > MAX_VARIABLES:
            raise ConflictError(
                f"A build may report at most {MAX_VARIABLES} variables; leave some out.", field="variables"
            )


def check_artifact(tx: Tx, build_uuid: str, name: str, size_bytes: int, limits: ArtifactLimits) -> None:
    """Check whether the build may upload this file.

    Raises:
        GoneError: the build is over.
        ConflictError: the file would exceed the limits.
    """
    lock_unfinished(tx, build_uuid)
    check_room_for_file(tx, build_uuid, name, size_bytes, limits)


def check_room_for_file(tx: Tx, build_uuid: str, name: str, size_bytes: int, limits: ArtifactLimits) -> None:
    """Check the limits; the caller has locked the build. Raises ConflictError."""
    of_build = artifacts.c.build_uuid == build_uuid
    live_reference = (artifacts.c.reference.is_not(None), artifacts.c.deleted_at.is_(None))
    if tx.execute(sa.select(artifacts.c.name).where(of_build, artifacts.c.name == name, *live_reference)).first():
        raise ConflictError("The build has a reference of this name; choose another name.")
    others = (of_build, artifacts.c.name != name, artifacts.c.reference.is_(None))
    sizes = sa.func.coalesce(sa.func.sum(artifacts.c.size_bytes), 0)
    count, bytes_before = tx.execute(sa.select(sa.func.count(), sizes).where(*others)).one()
    if count >= limits.max_count:
        raise ConflictError(f"A build may upload at most {limits.max_count} artifacts; pack them into one archive.")
    if bytes_before + size_bytes > limits.max_bytes:
        message = (
            f"A build's artifacts may have at most {limits.max_bytes} bytes together (SHUTTLE_MAX_ARTIFACTS_BYTES)."
        )
        raise ConflictError(message)


def record_artifact(
    tx: Tx,
    build_uuid: str,
    artifact: Artifact,
    limits: ArtifactLimits,
    *,
    check: Callable[[Tx, str, str, int, ArtifactLimits], None] = check_artifact,
    state_code: int | None = None,
) -> bool:
    """Record an uploaded file, which replaces an earlier one of the same name; returns whether it is new.

    A replacement is recorded even after the build's end, because the object store already has the new file. A file
    with a new name is checked: raises what `check` raises.
    """
    same = (artifacts.c.build_uuid == build_uuid, artifacts.c.name == artifact.name)
    lock_build(tx, build_uuid)
    replaceable = sa.or_(artifacts.c.reference.is_(None), artifacts.c.deleted_at.is_not(None))
    is_new = tx.execute(artifacts.delete().where(*same, replaceable)).rowcount == 0
    if is_new:
        check(tx, build_uuid, artifact.name, artifact.size_bytes, limits)
    row = {
        "build_uuid": build_uuid,
        "name": artifact.name,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "content_type": artifact.content_type,
        "state_code": state_code,
        "created_at": tx.now.at,
    }
    tx.execute(artifacts.insert(), row)
    return is_new
