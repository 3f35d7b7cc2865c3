"""Counts for the metrics: builds without a slot, undelivered statuses, log bytes that sinks have not acknowledged.

`count_builds` counts all builds, for `GET /-/state/status`.
"""

import sqlalchemy as sa

from shuttle.delivery import DeliveryState
from shuttle.metrics import Backlog
from shuttle.store.column_types import Instant
from shuttle.store.tables import TO_RUN, builds, deliveries, sinks
from shuttle.store.tx import Tx


def count_builds(tx: Tx) -> int:
    """The number of recorded builds; it takes some milliseconds for 100,000."""
    count: int = tx.execute(sa.select(sa.func.count()).select_from(builds)).scalar_one()
    return count


def read_backlog(tx: Tx) -> Backlog:
    """Count them; the queries use the partial indexes of unfinished rows."""
    waiting = (TO_RUN, builds.c.slot_at.is_(None))
    build_count, accepted_at = tx.execute(
        sa.select(sa.func.count(), sa.func.min(builds.c.accepted_at, type_=Instant)).where(*waiting)
    ).one()
    delivery_count, queued_at = tx.execute(
        sa.select(sa.func.count(), sa.func.min(deliveries.c.queued_steady_at, type_=Instant)).where(
            deliveries.c.state == DeliveryState.PENDING
        )
    ).one()
    return Backlog(
        builds=build_count,
        oldest_build_seconds=0 if accepted_at is None else max((tx.now.at - accepted_at).total_seconds(), 0),
        deliveries=delivery_count,
        oldest_delivery_seconds=0 if queued_at is None else max((tx.now.steady - queued_at).total_seconds(), 0),
        sinks={state: (count, int(lag_bytes)) for state, count, lag_bytes in tx.execute(_OPEN_SINKS)},
    )


# The log of a running build is recorded up to its checkpoint. A sink may have acknowledged a preamble beyond that.
_RECORDED_BYTES = sa.func.coalesce(
    builds.c.log_bytes, sa.cast(builds.c.checkpoint["log_offset"].as_string(), sa.BigInteger), 0
)
_LAG_BYTES = sa.case((sinks.c.acked_offset < _RECORDED_BYTES, _RECORDED_BYTES - sinks.c.acked_offset), else_=0)
_OPEN_SINKS = (
    sa.select(sinks.c.state, sa.func.count(), sa.func.sum(_LAG_BYTES))
    .join(builds, builds.c.build_uuid == sinks.c.build_uuid)
    .where(sinks.c.ended_at.is_(None))
    .group_by(sinks.c.state)
)
