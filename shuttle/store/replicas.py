"""The replicas that serve from the database: each raises its counter as long as it runs."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from shuttle.store.moves import refuse_while_filled
from shuttle.store.tables import replicas
from shuttle.store.tx import Tx


@dataclass(frozen=True, slots=True)
class Replica:
    """One start of one process; `url` is where other replicas reach it."""

    instance: str
    name: str
    url: str
    version: str
    counter: int
    started_at: datetime
    reach: str = "{}"  # the text of `shuttle.reachability`


def raise_counter(tx: Tx, mine: Replica) -> list[Replica]:
    """Raise this process's counter; returns all replicas. A replica that was removed joins again with counter 0.

    Raises BeingFilledError if it would join while `shuttle migrate` fills the database.
    """
    raised = replicas.update().where(replicas.c.instance == mine.instance)
    raised = raised.values(counter=replicas.c.counter + 1, reach=mine.reach)
    if not tx.execute(raised).rowcount:
        refuse_while_filled(tx)
        tx.execute(replicas.insert(), {column: getattr(mine, column) for column in Replica.__dataclass_fields__})
    return all_replicas(tx)


def all_replicas(tx: Tx) -> list[Replica]:
    """All replicas, the oldest first; one that died is included until another one removes it."""
    query = sa.select(*(replicas.c[column] for column in Replica.__dataclass_fields__))
    return [Replica(*row) for row in tx.execute(query.order_by(replicas.c.started_at, replicas.c.instance))]


def remove_replica(tx: Tx, dead: Replica) -> bool:
    """Remove a replica that is considered dead; False = it has raised its counter meanwhile, or is removed already."""
    same = (replicas.c.instance == dead.instance, replicas.c.counter == dead.counter)
    return tx.execute(replicas.delete().where(*same)).rowcount == 1
