"""What the pipeline on the agent told us: reports, artifacts and variables."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shuttle.errors import ConflictError
from shuttle.store.builds import Artifact
from shuttle.store.tables import artifacts, builds, reports, variables


def record_report(
    connection: sa.Connection,
    build_uuid: str,
    report_id: str,
    body: bytes,
    *,
    facts: dict[str, Any],
    values: dict[str, str],
    now: datetime,
) -> bool:
    """Remember a report once; False = one of that id is there already and nothing changed.

    `facts` are columns of the build (report_reason, report_message, image, digest); `values` are variables.
    """
    mine = (reports.c.build_uuid == build_uuid, reports.c.report_id == report_id)
    if connection.execute(sa.select(reports.c.report_id).where(*mine)).first() is not None:
        return False
    row = {"build_uuid": build_uuid, "report_id": report_id, "body": body, "created_at": now}
    connection.execute(reports.insert(), row)
    if facts:
        connection.execute(builds.update().where(builds.c.build_uuid == build_uuid).values(facts))
    for name, value in values.items():
        same = (variables.c.build_uuid == build_uuid, variables.c.name == name)
        connection.execute(variables.delete().where(*same))
        connection.execute(variables.insert(), {"build_uuid": build_uuid, "name": name, "value": value})
    return True


def record_artifact(
    connection: sa.Connection, build_uuid: str, artifact: Artifact, *, most: int, now: datetime
) -> None:
    """Remember an uploaded file; an upload of the same name replaces it. Raises ConflictError beyond `most` files."""
    same = (artifacts.c.build_uuid == build_uuid, artifacts.c.name == artifact.name)
    replaced = connection.execute(artifacts.delete().where(*same)).rowcount
    of_build = sa.select(sa.func.count()).where(artifacts.c.build_uuid == build_uuid)
    if not replaced and connection.execute(of_build).scalar_one() >= most:
        raise ConflictError(f"A build may leave {most} artifacts; pack them into one archive.")
    row = {
        "build_uuid": build_uuid,
        "name": artifact.name,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "content_type": artifact.content_type,
        "created_at": now,
    }
    connection.execute(artifacts.insert(), row)
