"""Finds builds whose source, log or record has expired, and removes their rows."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from shuttle.store.tables import (
    artifacts,
    attempts,
    auto_resumes,
    builds,
    claims,
    deliveries,
    events,
    failures,
    jobs,
    log_pieces,
    log_segments,
    packer_runs,
    progress,
    receivers,
    reports,
    sinks,
    states,
    variables,
)
from shuttle.store.tx import Tx


class Expiring(StrEnum):
    """The parts of a build that are each kept for a time of their own."""

    SOURCE = "source"
    LOG = "log"
    RECORD = "record"


_DELETED_AT = {Expiring.SOURCE: builds.c.source_deleted_at, Expiring.LOG: builds.c.log_deleted_at}

_others = builds.alias("others")
_IS_RESUMED = sa.exists().where(_others.c.resume_from == builds.c.build_uuid)
_HAS_PARENT = sa.exists().where(_others.c.build_uuid == builds.c.parent_uuid)
# With the state as a literal, each database uses the index of pending deliveries.
_PENDING = deliveries.c.state == sa.literal_column("'pending'")
_HAS_DELIVERIES = (
    sa.exists()
    .where(receivers.c.build_uuid == builds.c.build_uuid)
    .where(deliveries.c.receiver_id == receivers.c.receiver_id, _PENDING)
)
_HAS_OPEN_SINK = sa.exists().where(sinks.c.build_uuid == builds.c.build_uuid, sinks.c.ended_at.is_(None))
_WILL_BE_RESUMED = sa.exists().where(auto_resumes.c.build_uuid == builds.c.build_uuid)
# One by one: PostgreSQL would read all builds for the negation of one `or`.
_NOT_NEEDED = (~_IS_RESUMED, ~_HAS_PARENT, ~_HAS_DELIVERIES, ~_HAS_OPEN_SINK, ~_WILL_BE_RESUMED)


def expired_builds(tx: Tx, what: Expiring, before: datetime, limit: int) -> list[str]:
    """Uuids of archived builds that ended before `before` and still have this part.

    A record is kept as long as there is a record of its parent, or of a build that resumes it: both need its content.
    It is also kept while its log or its statuses are due to receivers, and while its automatic resume is planned.
    """
    # "IS NOT NULL" tells SQLite that it may use the indexes of builds that still have their source or log.
    ended = (builds.c.finished_at.is_not(None), builds.c.finished_at < before)
    expired = (_DELETED_AT[what].is_(None),) if what in _DELETED_AT else _NOT_NEEDED
    query = sa.select(builds.c.build_uuid).where(*ended, builds.c.archived_at.is_not(None), *expired)
    return list(tx.execute(query.order_by(builds.c.finished_at).limit(limit)).scalars())


def archived_of(tx: Tx, build_uuids: Sequence[str]) -> dict[str, str]:
    """Those of the builds whose logs are archived, with their apps."""
    query = sa.select(builds.c.build_uuid, builds.c.app_id).where(builds.c.archived_at.is_not(None))
    return {row.build_uuid: row.app_id for row in tx.execute(query.where(builds.c.build_uuid.in_(build_uuids)))}


def unarchived_of(tx: Tx, build_uuids: Sequence[str]) -> set[str]:
    """Those of the uuids that are builds whose logs are not archived yet."""
    query = sa.select(builds.c.build_uuid).where(builds.c.archived_at.is_(None))
    return set(tx.execute(query.where(builds.c.build_uuid.in_(build_uuids))).scalars())


def mark_deleted(tx: Tx, what: Expiring, build_uuid: str) -> None:
    """Record that the object of a build, its source or its log, was deleted."""
    tx.execute(builds.update().where(builds.c.build_uuid == build_uuid).values({_DELETED_AT[what].name: tx.now.at}))


def drop_record(tx: Tx, build_uuid: str) -> None:
    """Delete all rows of the build; its ids can then be used again."""
    its_receivers = sa.select(receivers.c.receiver_id).where(receivers.c.build_uuid == build_uuid)
    its_deliveries = sa.select(deliveries.c.delivery_id).where(deliveries.c.receiver_id.in_(its_receivers))
    tx.execute(attempts.delete().where(attempts.c.delivery_id.in_(its_deliveries)))
    tx.execute(deliveries.delete().where(deliveries.c.receiver_id.in_(its_receivers)))
    logs, records = (log_segments, log_pieces), (states, failures, jobs, progress, packer_runs, auto_resumes)
    for table in (events, receivers, sinks, reports, artifacts, variables, claims, *logs, *records, builds):
        tx.execute(table.delete().where(table.c.build_uuid == build_uuid))
