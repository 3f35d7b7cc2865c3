"""What a build's agent sent besides its log: reports, artifacts and variables."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shuttle.errors import ConflictError, GoneError
from shuttle.store.builds import Artifact, by_uuid
from shuttle.store.tables import artifacts, builds, reports, variables

# An agent sends one with its reason and one for each image.
MOST_REPORTS = 100


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the build fails, in its pipeline's words: a stable code, and a sentence for people."""

    reason: str
    message: str | None


def refuse_when_over(connection: sa.Connection, build_uuid: str) -> None:
    """A call may have begun before the end. Raises GoneError once the build is final."""
    build = by_uuid(connection, build_uuid)
    if build is None or build.state.final:
        raise GoneError("The build is over: nothing more is taken from it.")


def record_report(
    connection: sa.Connection,
    build_uuid: str,
    report_id: str,
    body: bytes,
    *,
    failure: Failure | None,
    facts: dict[str, Any],
    values: dict[str, str],
    now: datetime,
) -> bool:
    """Remember a report once; False = one of that id is there already and nothing changed.

    Only the build's first `failure` is kept. `facts` are columns of the build (image, digest), `values` its variables:
    the newest are kept.

    Raises:
        GoneError: the build is over. ConflictError: beyond MOST_REPORTS.
    """
    refuse_when_over(connection, build_uuid)
    mine = (reports.c.build_uuid == build_uuid, reports.c.report_id == report_id)
    if connection.execute(sa.select(reports.c.report_id).where(*mine)).first() is not None:
        return False
    recorded = sa.select(sa.func.count()).where(reports.c.build_uuid == build_uuid)
    if connection.execute(recorded).scalar_one() >= MOST_REPORTS:
        raise ConflictError(f"A build may send {MOST_REPORTS} reports.")
    row = {"build_uuid": build_uuid, "report_id": report_id, "body": body, "created_at": now}
    connection.execute(reports.insert(), row)
    of_build = builds.update().where(builds.c.build_uuid == build_uuid)
    if failure is not None:
        explained = {"report_reason": failure.reason, "report_message": failure.message}
        connection.execute(of_build.where(builds.c.report_reason.is_(None)).values(explained))
    if facts:
        connection.execute(of_build.values(facts))
    for name, value in values.items():
        same = (variables.c.build_uuid == build_uuid, variables.c.name == name)
        connection.execute(variables.delete().where(*same))
        connection.execute(variables.insert(), {"build_uuid": build_uuid, "name": name, "value": value})
    return True


def expect_artifact(connection: sa.Connection, build_uuid: str, name: str, *, most: int) -> None:
    """Raises GoneError once the build is over, ConflictError when the file would be one above `most`."""
    refuse_when_over(connection, build_uuid)
    others = sa.select(sa.func.count()).where(artifacts.c.build_uuid == build_uuid, artifacts.c.name != name)
    if connection.execute(others).scalar_one() >= most:
        raise ConflictError(f"A build may leave {most} artifacts; pack them into one archive.")


def record_artifact(
    connection: sa.Connection, build_uuid: str, artifact: Artifact, *, most: int, now: datetime
) -> None:
    """Remember an uploaded file; an upload of the same name replaces it. Raises what `expect_artifact` does."""
    expect_artifact(connection, build_uuid, artifact.name, most=most)
    same = (artifacts.c.build_uuid == build_uuid, artifacts.c.name == artifact.name)
    connection.execute(artifacts.delete().where(*same))
    row = {
        "build_uuid": build_uuid,
        "name": artifact.name,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "content_type": artifact.content_type,
        "created_at": now,
    }
    connection.execute(artifacts.insert(), row)
