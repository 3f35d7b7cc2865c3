"""How far steady time is: one row that survives the process (see `shuttle.clock`)."""

import sqlalchemy as sa

from shuttle.clock import Anchor, Boot
from shuttle.store.tables import steady_time

_ONLY = 1


def read(connection: sa.Connection) -> Anchor | None:
    """What was recorded last; None = nothing yet."""
    columns = (steady_time.c.steady_at, steady_time.c.boot_id, steady_time.c.uptime_seconds)
    row = connection.execute(sa.select(*columns)).first()
    return None if row is None else Anchor(row.steady_at, Boot(row.boot_id, row.uptime_seconds))


def record(connection: sa.Connection, anchor: Anchor) -> None:
    """Replace the row."""
    boot = anchor.boot
    values = {"steady_at": anchor.steady_at, "boot_id": boot.boot_id, "uptime_seconds": boot.uptime_seconds}
    connection.execute(steady_time.delete())
    connection.execute(steady_time.insert(), {"only": _ONLY, **values})
