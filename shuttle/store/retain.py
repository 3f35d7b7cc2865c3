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


def expired_builds(tx: Tx, what: Expiring, before: datetime, limit: int) -> list[str]:
    """Uuids of archived builds that ended before `before` and still have this part.

    A record is kept as long as there is a record of its parent, or of a build that resumes it: both need its content.
    """
    # "IS NOT NULL" tells SQLite that it may use the indexes of builds that still have their source or log.
    ended = (builds.c.finished_at.is_not(None), builds.c.finished_at < before)
    expired = (_DELETED_AT[what].is_(None),) if what in _DELETED_AT else (~_IS_RESUMED, ~_HAS_PARENT)
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
