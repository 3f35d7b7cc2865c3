"""Early sources: objects that are written before the row that promises them, and those that no row came to promise."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from shuttle.store.tables import builds, early_sources


def announce(connection: sa.Connection, build_uuid: str, now: datetime, *, new_object: bool) -> None:
    """Remember that the source of a build that is not recorded yet is about to be written.

    Not where the store has an object of that name (`new_object` is false) that was never announced: it is not ours.
    """
    mine = early_sources.c.build_uuid == build_uuid
    again = connection.execute(early_sources.update().where(mine).values(announced_at=now)).rowcount
    if not again and new_object:
        connection.execute(early_sources.insert(), {"build_uuid": build_uuid, "announced_at": now})


def forget(connection: sa.Connection, build_uuids: Sequence[str]) -> None:
    """Their rows are there, or the objects are gone."""
    connection.execute(early_sources.delete().where(early_sources.c.build_uuid.in_(build_uuids)))


def unpromised(connection: sa.Connection, before: datetime, limit: int) -> list[str]:
    """Uuids of builds that were never recorded, though their sources were announced before then."""
    recorded = sa.exists().where(builds.c.build_uuid == early_sources.c.build_uuid)
    query = sa.select(early_sources.c.build_uuid).where(early_sources.c.announced_at < before, ~recorded)
    return list(connection.execute(query.order_by(early_sources.c.announced_at).limit(limit)).scalars())
