"""A thread's connection to PostgreSQL, which is opened when needed and can be aborted by another thread."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.pool import NullPool

from shuttle.errors import SettingsError
from shuttle.store.prepared import TRANSACTION_ID

# One message to the server instead of four. With these limits, a frozen process of this service blocks others for a few
# seconds only. No statement of the service takes that long. The driver converts instants from and to the time zone of
# the session: in another one than UTC those at the ends of year 1 or 9999 have no date in Python.
TRANSACTION = (
    "BEGIN ISOLATION LEVEL READ COMMITTED;"
    " SET LOCAL statement_timeout = '4s'; SET LOCAL lock_timeout = '2s';"
    " SET LOCAL idle_in_transaction_session_timeout = '5s'; SET LOCAL timezone = 'UTC'"
)
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
    """The outcome of a transaction; the values are those of PostgreSQL's pg_xact_status."""

    COMMITTED = "committed"
    ROLLED_BACK = "aborted"
    IN_PROGRESS = "in progress"


def connector(url: str) -> Callable[[], psycopg.Connection[Any]]:
    """A function that opens connections; parameters in the URL override the defaults. It raises what `connect` does."""
    return partial(connect, parameters_of(url), autocommit=True)


def connect(parameters: dict[str, Any], *, autocommit: bool = False) -> psycopg.Connection[Any]:
    """Open a connection with these parameters of libpq.

    Raises psycopg.Error, and SettingsError if the database cannot store all text: with SQL_ASCII the driver returns
    bytes, with any other encoding than UTF8 there are characters that a log cannot contain.
    """
    # No prepared statements: a pooler in transaction mode does not keep them.
    opened = psycopg.connect(**parameters, autocommit=autocommit, prepare_threshold=None)
    encoding = opened.info.parameter_status("server_encoding")
    if encoding not in {None, "UTF8"}:
        opened.close()
        raise SettingsError(
            f"The database of DATABASE_URL has the encoding {encoding}; create one with ENCODING 'UTF8' TEMPLATE"
            " template0."
        )
    return opened


def parameters_of(url: str) -> dict[str, Any]:
    """The parameters of libpq: those of the URL override the defaults."""
    return {**_PARAMETERS, **conninfo_to_dict(url)}


def engine_of(connect: Callable[[], psycopg.Connection[Any]], begin: str) -> sa.Engine:
    """An engine without a pool; each transaction begins with the statements `begin`."""
    engine = sa.create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool, hide_parameters=True)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def shut_down(driver: psycopg.Connection[Any]) -> None:
    """End the connection of another thread, which gets an error if it waits for the server."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(driver.pgconn.socket)) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


class ThreadConnection:
    """A connection that is reopened after it was lost. Only `abort` may be called by another thread."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None
        self._driver: Any = None

    def open(self) -> sa.Connection:
        """Return the connection, and open it if necessary. Raises SQLAlchemyError."""
        if self._connection is None or self._connection.closed or self._connection.invalidated:
            self.close()
            self._connection = self._engine.connect()
            self._driver = self._connection.connection.driver_connection
        return self._connection

    def close(self) -> None:
        """Close the connection, if it is open; `open` opens another one."""
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            with suppress(sa.exc.SQLAlchemyError):
                connection.invalidate()
                connection.close()

    def abort(self) -> None:
        """Shut the socket down, so that the thread that waits for the server gets an error."""
        if self._driver is not None:
            shut_down(self._driver)

    def transaction_id(self) -> str | None:
        """The id of the current transaction, for `outcome_of`; None = it wrote nothing."""
        found = self.open().exec_driver_sql(TRANSACTION_ID).scalar()
        return None if found is None else str(found)

    def outcome_of(self, transaction_id: str) -> Outcome:
        """The outcome of the transaction with this id. Raises SQLAlchemyError."""
        with self.open().begin():
            query = "SELECT pg_xact_status(%(id)s::xid8)"
            return Outcome(
                self.open().exec_driver_sql(query, {"id": transaction_id}).scalar() or Outcome.IN_PROGRESS.value
            )
