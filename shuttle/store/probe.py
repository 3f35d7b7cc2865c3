"""Proves that the database can be written: one on a full disk still reads."""

from shuttle.store.tables import replicas
from shuttle.store.tx import Tx


def prove_writable(tx: Tx) -> None:
    """Leaves no row, and yet a commit has to write."""
    nobody = {"name": "", "started_at": tx.now.at, "heartbeat_at": tx.now.at}
    tx.execute(replicas.insert(), nobody)
    tx.execute(replicas.delete().where(replicas.c.name == ""))
