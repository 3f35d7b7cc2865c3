"""Pending uploads: sources that are written to the object store before their builds are recorded."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shuttle.store.tables import builds, early_sources
from shuttle.store.tx import Tx


def register_upload(tx: Tx, build_uuid: str, *, new_object: bool) -> None:
    """Register that the source of a build that is not recorded yet is about to be written.

    An existing object (`new_object` is false) that was never registered does not belong to a pending upload, so it is
    not registered.
    """
    row = {"build_uuid": build_uuid, "announced_at": tx.now.steady}
    if new_object:
        renewed = {"announced_at": tx.now.steady}
        tx.execute(insert(early_sources).on_conflict_do_update(index_elements=["build_uuid"], set_=renewed), row)
    else:
        tx.execute(early_sources.update().where(early_sources.c.build_uuid == build_uuid).values(row))


def forget_uploads(tx: Tx, build_uuids: Sequence[str]) -> None:
    """Remove the registrations, after the builds were recorded or the objects deleted."""
    tx.execute(early_sources.delete().where(early_sources.c.build_uuid.in_(build_uuids)))


def orphaned_uploads(tx: Tx, before: datetime, limit: int) -> list[str]:
    """Uuids of builds that were not recorded although their uploads were registered earlier than `before`."""
    recorded = sa.exists().where(builds.c.build_uuid == early_sources.c.build_uuid)
    query = sa.select(early_sources.c.build_uuid).where(early_sources.c.announced_at < before, ~recorded)
    return list(tx.execute(query.order_by(early_sources.c.announced_at).limit(limit)).scalars())
