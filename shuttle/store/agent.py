"""What a build's agent sent besides its log: reports, artifacts and variables."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shuttle.errors import ConflictError, GoneError
from shuttle.store.builds import Artifact, lock_build
from shuttle.store.tables import artifacts, builds, reports, variables
from shuttle.store.tx import Tx

# An agent sends one with its reason and one for each image.
MOST_REPORTS = 100
# Of a build's reports together, encrypted as they are recorded.
MOST_REPORTS_BYTES = 1024 * 1024
MOST_VARIABLES = 100

_NEW_REPORT = insert(reports).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


@dataclass(frozen=True, slots=True)
class ArtifactLimits:
    """How many files a build may leave, and how large they may be together."""

    most: int
    most_bytes: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the build fails, in its pipeline's words: a stable code, and a sentence for people."""

    reason: str
    message: str | None


def refuse_when_over(tx: Tx, build_uuid: str) -> None:
    """A call may have begun before the end, and no other may add to the build meanwhile.

    Raises:
        GoneError: the build is final.
    """
    build = lock_build(tx, build_uuid)
    if build is None or build.state.final:
        raise GoneError("The build is over: nothing more is taken from it.")


def record_report(
    tx: Tx,
    build_uuid: str,
    report_id: str,
    body: bytes,
    *,
    failure: Failure | None,
    facts: dict[str, Any],
    values: dict[str, str],
) -> bool:
    """Remember a report once; False = one of that id is there already and nothing changed.

    Only the build's first `failure` is kept. `facts` are columns of the build (image, digest), `values` its variables:
    the newest are kept.

    Raises:
        GoneError: the build is over. ConflictError: beyond MOST_REPORTS, MOST_REPORTS_BYTES or MOST_VARIABLES.
    """
    refuse_when_over(tx, build_uuid)
    mine = (reports.c.build_uuid == build_uuid, reports.c.report_id == report_id)
    if tx.execute(sa.select(reports.c.report_id).where(*mine)).first() is not None:
        return False
    _check_share(tx, build_uuid, len(body), values)
    row = {"build_uuid": build_uuid, "report_id": report_id, "body": body, "created_at": tx.now.at}
    if tx.execute(_NEW_REPORT, row).rowcount == 0:
        return False
    of_build = builds.update().where(builds.c.build_uuid == build_uuid)
    if failure is not None:
        explained = {"report_reason": failure.reason, "report_message": failure.message}
        tx.execute(of_build.where(builds.c.report_reason.is_(None)).values(explained))
    if facts:
        tx.execute(of_build.values(facts))
    for name, value in values.items():
        same = (variables.c.build_uuid == build_uuid, variables.c.name == name)
        tx.execute(variables.delete().where(*same))
        tx.execute(variables.insert(), {"build_uuid": build_uuid, "name": name, "value": value})
    return True


def _check_share(tx: Tx, build_uuid: str, size_bytes: int, values: dict[str, str]) -> None:
    of_build = reports.c.build_uuid == build_uuid
    sizes = sa.func.coalesce(sa.func.sum(sa.func.length(reports.c.body)), 0)
    count, bytes_before = tx.execute(sa.select(sa.func.count(), sizes).where(of_build)).one()
    if count >= MOST_REPORTS:
        raise ConflictError(f"A build may send {MOST_REPORTS} reports.")
    if bytes_before + size_bytes > MOST_REPORTS_BYTES:
        raise ConflictError(f"The reports of a build may have {MOST_REPORTS_BYTES} bytes together, encrypted.")
    if values:
        others = (variables.c.build_uuid == build_uuid, variables.c.name.not_in(values))
        known = tx.execute(sa.select(sa.func.count()).select_from(variables).where(*others)).scalar_one()
        if known + len(values) > MOST_VARIABLES:
            raise ConflictError(f"A build may report {MOST_VARIABLES} variables.")


def expect_artifact(tx: Tx, build_uuid: str, name: str, size_bytes: int, limits: ArtifactLimits) -> None:
    """Raises GoneError once the build is over, ConflictError when the file would be beyond the limits."""
    refuse_when_over(tx, build_uuid)
    others = (artifacts.c.build_uuid == build_uuid, artifacts.c.name != name)
    sizes = sa.func.coalesce(sa.func.sum(artifacts.c.size_bytes), 0)
    count, bytes_before = tx.execute(sa.select(sa.func.count(), sizes).where(*others)).one()
    if count >= limits.most:
        raise ConflictError(f"A build may leave {limits.most} artifacts; pack them into one archive.")
    if bytes_before + size_bytes > limits.most_bytes:
        message = f"The artifacts of a build may have {limits.most_bytes} bytes together (SHUTTLE_MAX_ARTIFACTS_BYTES)."
        raise ConflictError(message)


def record_artifact(tx: Tx, build_uuid: str, artifact: Artifact, limits: ArtifactLimits) -> None:
    """Remember an uploaded file; an upload of the same name replaces it.

    Also after the build's end if the file of that name is recorded: what is stored is the new one. Else it raises what
    `expect_artifact` does.
    """
    same = (artifacts.c.build_uuid == build_uuid, artifacts.c.name == artifact.name)
    lock_build(tx, build_uuid)
    if tx.execute(artifacts.delete().where(*same)).rowcount == 0:
        expect_artifact(tx, build_uuid, artifact.name, artifact.size_bytes, limits)
    row = {
        "build_uuid": build_uuid,
        "name": artifact.name,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "content_type": artifact.content_type,
        "created_at": tx.now.at,
    }
    tx.execute(artifacts.insert(), row)
