"""Records steady time in one row, so that it continues after a restart (see `shuttle.clock`)."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shuttle.clock import Anchor, Boot
from shuttle.store.tables import steady_time
from shuttle.store.tx import Tx

_ONLY = 1


def read_steady_time(tx: Tx) -> Anchor | None:
    """The newest recorded anchor; None = there is none yet."""
    columns = (steady_time.c.steady_at, steady_time.c.boot_id, steady_time.c.uptime_seconds)
    row = tx.execute(sa.select(*columns)).first()
    return None if row is None else Anchor(row.steady_at, Boot(row.boot_id, row.uptime_seconds))


def first_steady_time(tx: Tx, anchor: Anchor) -> Anchor:
    """Record the anchor unless there is one; returns the recorded one.

    If several processes start on an empty database, one of them chooses the time for all, as their wall clocks may
    differ.
    """
    tx.execute(insert(steady_time).values(_row(anchor)).on_conflict_do_nothing())
    return read_steady_time(tx) or anchor


def write_steady_time(tx: Tx, anchor: Anchor) -> Anchor:
    """Replace the recorded anchor, unless it is later: another replica is ahead then. Returns the recorded one."""
    later = steady_time.c.steady_at <= anchor.steady_at
    upsert = insert(steady_time).values(_row(anchor))
    tx.execute(upsert.on_conflict_do_update(index_elements=["only"], set_=_row(anchor), where=later))
    return read_steady_time(tx) or anchor


def _row(anchor: Anchor) -> dict[str, Any]:
    boot = anchor.boot
    return {
        "only": _ONLY,
        "steady_at": anchor.steady_at,
        "boot_id": boot.boot_id,
        "uptime_seconds": boot.uptime_seconds,
    }
