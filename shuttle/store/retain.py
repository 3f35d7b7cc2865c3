"""What has been kept long enough, and forgetting it."""

from datetime import datetime

import sqlalchemy as sa

from shuttle.store.tables import (
    artifacts,
    attempts,
    builds,
    claims,
    deliveries,
    events,
    log_segments,
    progress,
    receivers,
    reports,
    sinks,
    variables,
)

_DELETED = {"source": builds.c.source_deleted_at, "log": builds.c.log_deleted_at}


def expired(connection: sa.Connection, kind: str, before: datetime, limit: int) -> list[str]:
    """Uuids of archived builds that ended before then and whose `kind` (source, log or record) is still there."""
    query = sa.select(builds.c.build_uuid).where(builds.c.finished_at < before, builds.c.archived_at.is_not(None))
    if kind in _DELETED:
        query = query.where(_DELETED[kind].is_(None))
    return list(connection.execute(query.order_by(builds.c.finished_at).limit(limit)).scalars())


def forgotten(connection: sa.Connection, kind: str, build_uuid: str, now: datetime) -> None:
    """The object is gone."""
    connection.execute(builds.update().where(builds.c.build_uuid == build_uuid).values({_DELETED[kind].name: now}))


def drop_record(connection: sa.Connection, build_uuid: str) -> None:
    """Remove every row of the build; its ids may be used again."""
    its_receivers = sa.select(receivers.c.receiver_id).where(receivers.c.build_uuid == build_uuid)
    its_deliveries = sa.select(deliveries.c.delivery_id).where(deliveries.c.receiver_id.in_(its_receivers))
    connection.execute(attempts.delete().where(attempts.c.delivery_id.in_(its_deliveries)))
    connection.execute(deliveries.delete().where(deliveries.c.receiver_id.in_(its_receivers)))
    for table in (events, receivers, sinks, reports, artifacts, variables, claims, log_segments, progress, builds):
        connection.execute(table.delete().where(table.c.build_uuid == build_uuid))
