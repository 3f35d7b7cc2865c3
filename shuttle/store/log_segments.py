"""The recorded order of a log's segments, by which a lost log is rebuilt from the agents' copies."""

from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from shuttle.build import Checkpoint
from shuttle.logs import Segment
from shuttle.store.builds import lock_build
from shuttle.store.tables import builds, log_segments
from shuttle.store.tx import Tx

_COLUMNS = [log_segments.c[name] for name in Segment.__dataclass_fields__]


def record_log(tx: Tx, build_uuid: str, segments: Sequence[Segment], at: Checkpoint) -> None:
    """Record new and extended segments, and the checkpoint after them."""
    lock_build(tx, build_uuid)
    if segments:
        changed = [segment.position for segment in segments]
        mine = (log_segments.c.build_uuid == build_uuid, log_segments.c.position.in_(changed))
        tx.execute(log_segments.delete().where(*mine))
        tx.execute(log_segments.insert(), [{"build_uuid": build_uuid} | asdict(row) for row in segments])
    tx.execute(builds.update().where(builds.c.build_uuid == build_uuid).values(checkpoint=asdict(at)))


def segments_of(tx: Tx, build_uuid: str) -> list[Segment]:
    """The build's segments, sorted by position."""
    query = sa.select(*_COLUMNS).where(log_segments.c.build_uuid == build_uuid).order_by(log_segments.c.position)
    return [Segment(*row) for row in tx.execute(query)]


def forget_segments(tx: Tx, build_uuid: str) -> None:
    """Delete the segments of an archived log, which is never rebuilt."""
    tx.execute(log_segments.delete().where(log_segments.c.build_uuid == build_uuid))
