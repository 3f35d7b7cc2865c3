"""One thread's connection to PostgreSQL: opened when it is needed, cut from outside when it hangs."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.pool import NullPool

# One message to the server instead of four. A frozen process of ours holds nobody up for longer than this, and no
# statement of ours needs as long.
TRANSACTION = (
    "BEGIN ISOLATION LEVEL READ COMMITTED;"
    " SET LOCAL statement_timeout = '4s'; SET LOCAL lock_timeout = '2s';"
    " SET LOCAL idle_in_transaction_session_timeout = '5s'"
)
# A migration may take its time, but not while it waits for a lock that everybody queues up behind.
MIGRATION = "BEGIN; SET LOCAL lock_timeout = '5s'; SELECT pg_advisory_xact_lock(7308338842194436453)"
_PARAMETERS = {
    "connect_timeout": 2,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
    "application_name": "build-shuttle",
}


class Outcome(Enum):
    """What became of a transaction."""

    COMMITTED = "committed"
    UNDONE = "aborted"
    OPEN = "in progress"


def connector(url: str) -> Callable[[], psycopg.Connection[Any]]:
    """Opens connections; what the URL itself says about timeouts wins."""
    given = conninfo_to_dict(url)
    parameters: dict[str, Any] = {**_PARAMETERS, **given}

    def connect() -> psycopg.Connection[Any]:
        # Without prepared statements, which a pooler in transaction mode would lose.
        return psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)

    return connect


def engine_of(connect: Callable[[], psycopg.Connection[Any]], begin: str) -> sa.Engine:
    """Transactions begin with the statements of `begin`; each connection is the caller's own."""
    engine = sa.create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool, hide_parameters=True)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


class Link:
    """A connection that is opened again after it was lost. `cut` may be called from another thread."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None
        self._driver: Any = None

    def open(self) -> sa.Connection:
        """The connection. Raises SQLAlchemyError."""
        if self._connection is None or self._connection.closed or self._connection.invalidated:
            self.close()
            self._connection = self._engine.connect()
            self._driver = self._connection.connection.driver_connection
        return self._connection

    def close(self) -> None:
        """Close it, if it is open; `open` makes another one."""
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            with suppress(sa.exc.SQLAlchemyError):
                connection.invalidate()
                connection.close()

    def cut(self) -> None:
        """End whatever the connection waits for: its thread gets an error."""
        driver = self._driver
        if driver is not None:
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(driver.pgconn.socket)) as wire:
                wire.shutdown(socket.SHUT_RDWR)

    def transaction_id(self) -> str | None:
        """The id of the transaction under way, by which its outcome can be asked for; None = it wrote nothing."""
        query = "SELECT pg_current_xact_id_if_assigned()::text"
        return str(found) if (found := self.open().exec_driver_sql(query).scalar()) is not None else None

    def outcome_of(self, transaction_id: str) -> Outcome:
        """What became of it. Raises SQLAlchemyError."""
        with self.open().begin():
            query = "SELECT pg_xact_status(%(id)s::xid8)"
            return Outcome(self.open().exec_driver_sql(query, {"id": transaction_id}).scalar() or Outcome.OPEN.value)
