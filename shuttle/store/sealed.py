"""Samples of encrypted values in the database: the service checks its keys with them when it starts."""

import sqlalchemy as sa

from shuttle.build import Api
from shuttle.delivery import DeliveryState
from shuttle.store.tables import TO_RUN, auto_resumes, builds, deliveries, receivers, sinks
from shuttle.store.tx import Tx

# Without `+ 0`, SQLite would read all rows in the order of their ids, not the index of those that have not ended.
# The newest build has the newest key. The oldest unfinished build, sink and delivery, and a build that is going to be
# resumed, may need an older one.
_QUERIES = (
    sa.select(builds.c.plan).where(builds.c.api != Api.RECORD.value).order_by(builds.c.position.desc()).limit(1),
    sa.select(builds.c.plan).where(TO_RUN).order_by(builds.c.position + 0).limit(1),
    sa.select(builds.c.plan).where(
        builds.c.build_uuid
        == sa.select(auto_resumes.c.build_uuid).order_by(auto_resumes.c.due_steady_at).limit(1).scalar_subquery()
    ),
    sa.select(sinks.c.target).where(sinks.c.ended_at.is_(None)).order_by(sinks.c.sink_id + 0).limit(1),
    sa.select(receivers.c.target).where(
        receivers.c.receiver_id
        == sa.select(deliveries.c.receiver_id)
        .where(deliveries.c.state == DeliveryState.PENDING)
        .order_by(deliveries.c.delivery_id)
        .limit(1)
        .scalar_subquery()
    ),
)


def sealed_samples(tx: Tx) -> list[bytes]:
    """A few sealed values; an empty list = the database has none."""
    return [sealed for query in _QUERIES for sealed in tx.execute(query).scalars()]
