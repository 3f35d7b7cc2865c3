"""Records steady time in one row, so that it continues after a restart (see `shuttle.clock`)."""

import sqlalchemy as sa

from shuttle.clock import Anchor, Boot
from shuttle.store.tables import steady_time
from shuttle.store.tx import Tx

_ONLY = 1


def read_steady_time(tx: Tx) -> Anchor | None:
    """The newest recorded anchor; None = there is none yet."""
    columns = (steady_time.c.steady_at, steady_time.c.boot_id, steady_time.c.uptime_seconds)
    row = tx.execute(sa.select(*columns)).first()
    return None if row is None else Anchor(row.steady_at, Boot(row.boot_id, row.uptime_seconds))


def write_steady_time(tx: Tx, anchor: Anchor) -> Anchor:
    """Replace the recorded anchor, unless it is later: another replica is ahead then. Returns the recorded one."""
    recorded = read_steady_time(tx)
    if recorded is not None and recorded.steady_at > anchor.steady_at:
        return recorded
    boot = anchor.boot
    values = {"steady_at": anchor.steady_at, "boot_id": boot.boot_id, "uptime_seconds": boot.uptime_seconds}
    tx.execute(steady_time.delete())
    tx.execute(steady_time.insert(), {"only": _ONLY, **values})
    return anchor
