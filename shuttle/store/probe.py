"""Checks that the database can be written (a full disk can still be read), and compares its clock to the local one."""

from datetime import datetime

import sqlalchemy as sa

from shuttle.store.tables import replicas
from shuttle.store.tx import Tx


def prove_writable(tx: Tx) -> None:
    """Insert a row and delete it, so that the commit has to write although no row remains."""
    row = {"instance": f"probe of {tx.instance}", "name": "", "url": "", "version": "", "counter": 0}
    tx.execute(replicas.insert(), row | {"started_at": tx.now.at})
    tx.execute(replicas.delete().where(replicas.c.instance == row["instance"]))


def clock_difference_seconds(tx: Tx) -> float:
    """By how much PostgreSQL's clock is ahead of this machine's; 0 on SQLite, which uses this machine's clock."""
    if tx.connection.dialect.name == "sqlite":
        return 0.0
    there: datetime = tx.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return (there - tx.now.at).total_seconds()
