"""The record of a move from SQLite to PostgreSQL.

Nobody may serve from an SQLite file that was moved, nor from a PostgreSQL database while it is filled.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shuttle.errors import BeingFilledError, MovedError
from shuttle.store.tables import moves
from shuttle.store.tx import Tx

# The number of the advisory lock: "move" as ASCII. `shuttle migrate` holds it exclusively while it fills the database;
# a replica that joins the others takes it as a shared lock.
MOVE_LOCK = 0x6D6F7665


@dataclass(frozen=True, slots=True)
class Move:
    """A row of `moves`."""

    move_id: str
    other: str
    began_at: datetime
    ended_at: datetime | None = None
    report: Any = None


def read_move(connection: sa.Connection) -> Move | None:
    """The move that the database records; None = there is none."""
    row = connection.execute(sa.select(*(moves.c[column] for column in Move.__dataclass_fields__))).first()
    return None if row is None else Move(*row)


def refuse_moved(connection: sa.Connection) -> None:
    """Raise MovedError if the content of this SQLite file was moved, or is being moved."""
    move = read_move(connection)
    if move is not None and move.ended_at is None:
        raise MovedError(
            f"This database is being moved to {move.other}: repeat `shuttle migrate --from … --to …` until it is done."
        )
    if move is not None:
        raise MovedError(
            f"This database was moved to {move.other}: set DATABASE_URL to that one, and do not serve from this file."
        )


def refuse_while_filled(tx: Tx) -> None:
    """Raise BeingFilledError if `shuttle migrate` fills the database; else lock it out until the transaction ends."""
    if tx.alone:
        return
    query = sa.select(sa.func.pg_try_advisory_xact_lock_shared(MOVE_LOCK))
    if not tx.connection.execute(query).scalar():
        raise BeingFilledError("`shuttle migrate` is moving another database into this one; start when it is done.")
