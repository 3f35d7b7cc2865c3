"""Checks that the database can be written; on a full disk it can still be read."""

from shuttle.store.tables import replicas
from shuttle.store.tx import Tx


def prove_writable(tx: Tx) -> None:
    """Insert a row and delete it, so that the commit has to write although no row remains."""
    row = {"instance": f"probe of {tx.instance}", "name": "", "url": "", "version": "", "counter": 0}
    tx.execute(replicas.insert(), row | {"started_at": tx.now.at})
    tx.execute(replicas.delete().where(replicas.c.instance == row["instance"]))
