"""The PostgreSQL side of a move: reserved for it, filled in one transaction, and read back before the commit."""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql

from shuttle.errors import MoveRefusedError, OutcomeUnknownError, StoreError
from shuttle.move import Sum
from shuttle.move.rows import MOVED_TABLES, Row, RowDigest, sum_of
from shuttle.store.moves import MOVE_LOCK, Move, read_move
from shuttle.store.postgres_connection import shut_down
from shuttle.store.postgres_errors import is_lost, postgres_error
from shuttle.store.postgres_migrate import bring_postgres_up_to_date, migration_engine
from shuttle.store.tables import apps, builds, early_sources, moves, replicas, steady_time

_LOCK_SECONDS = 5.0
_LOCK_POLL_SECONDS = 0.1
_LOCK = f"SELECT pg_try_advisory_xact_lock({MOVE_LOCK})"


class Target:
    """A database that is reserved, by an open transaction, from `reserve` to `commit` or `close`.

    All methods raise StoreError if the server does not answer, and SettingsError if it refuses the user.
    """

    def __init__(self, url: str, direct_url: str = "") -> None:
        """`direct_url` is the URL for connections, `url` the one that is shown; "" = both are `url`."""
        self._shown_url = url
        self._url = direct_url or url
        self._engine = migration_engine(self._url)
        self._connection: sa.Connection | None = None

    @property
    def name(self) -> str:
        """Where the database is, without user and password."""
        given = psycopg.conninfo.conninfo_to_dict(self._shown_url)
        hosts = str(given.get("host") or "localhost").split(",")
        ports = str(given.get("port") or "").split(",")
        places = [f"{host}:{ports[min(index, len(ports) - 1)] or 5432}" for index, host in enumerate(hosts)]
        return f"postgresql://{','.join(places)}/{given.get('dbname') or given.get('user') or ''}"

    def prepare(self) -> None:
        """Migrate its schema."""
        try:
            bring_postgres_up_to_date(self._url)
        except sa.exc.SQLAlchemyError as error:
            raise postgres_error(error) from error

    def move(self) -> Move | None:
        """The move that the database records."""
        try:
            with self._engine.begin() as connection:
                return read_move(connection)
        except sa.exc.SQLAlchemyError as error:
            raise postgres_error(error) from error

    def reserve(self, lease_seconds: float) -> None:
        """Keep replicas from starting, until this process ends. Does nothing if it is reserved already.

        Raises:
            MoveRefusedError: replicas live, another database is being moved into this one, or it has builds.
        """
        try:
            if self._connection is None or not _answers(self._connection):
                self.close()
                self._connection = self._engine.connect()
                _lock(self._connection)
                _refuse_living_replicas(self._connection, lease_seconds)
                _refuse_content(self._connection)
                # Ends the snapshot of the query before it: the upload of objects, which follows, may take hours.
                self._connection.exec_driver_sql("SELECT 1")
        except sa.exc.SQLAlchemyError as error:
            raise postgres_error(error) from error

    def fill(self, tables: Mapping[str, Iterable[Row]]) -> tuple[dict[str, Sum], dict[str, Sum]]:
        """Copy the rows of all tables; returns the sums of what was given, and of what was then read back."""
        connection = self._reserved()
        try:
            locked = ", ".join(table.name for table in (apps, builds, early_sources, replicas, steady_time))
            connection.exec_driver_sql(f"LOCK TABLE {locked} IN SHARE ROW EXCLUSIVE MODE")
            _refuse_content(connection)
            connection.execute(replicas.delete())
            connection.execute(steady_time.delete())
            given = {table.name: _copy(connection, table, tables[table.name]) for table in MOVED_TABLES}
            for table in MOVED_TABLES:
                _set_sequence(connection, table)
            return given, {table.name: sum_of(connection, table) for table in MOVED_TABLES}
        except sa.exc.SQLAlchemyError as error:
            raise postgres_error(error) from error

    def commit(self, move: Move) -> None:
        """Record the move, and commit everything.

        Raises:
            OutcomeUnknownError: the server did not answer the COMMIT.
        """
        connection = self._reserved()
        try:
            row = {column: getattr(move, column) for column in Move.__dataclass_fields__}
            connection.execute(moves.insert(), row)
        except sa.exc.SQLAlchemyError as error:
            raise postgres_error(error) from error
        try:
            connection.commit()
        except sa.exc.SQLAlchemyError as error:
            raise OutcomeUnknownError(
                "PostgreSQL did not answer the last COMMIT; repeat the command to complete the move."
            ) from error
        self.close()

    def abort(self) -> None:
        """End the connection; `fill` in another thread raises StoreError. Nothing of it is committed."""
        if self._connection is not None:
            driver: Any = self._connection.connection.driver_connection
            shut_down(driver)

    def close(self) -> None:
        """Roll back what is not committed, and let replicas start. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sa.exc.SQLAlchemyError):
                connection.rollback()
            with suppress(sa.exc.SQLAlchemyError):
                connection.invalidate()
            connection.close()

    def _reserved(self) -> sa.Connection:
        if self._connection is None:
            raise StoreError("The database is not reserved.")
        return self._connection


def _answers(connection: sa.Connection) -> bool:
    try:
        connection.exec_driver_sql("SELECT 1")
    except sa.exc.SQLAlchemyError as error:
        if is_lost(error):
            return False
        raise
    return True


def _lock(connection: sa.Connection) -> None:
    """Lock the database for this move. The lock is also held, for a moment, by each replica that starts."""
    ends_at = time.monotonic() + _LOCK_SECONDS
    while not connection.exec_driver_sql(_LOCK).scalar():
        connection.rollback()
        if time.monotonic() > ends_at:
            raise MoveRefusedError("Another `shuttle migrate` is moving a database into this one; wait for its end.")
        time.sleep(_LOCK_POLL_SECONDS)


def _refuse_living_replicas(connection: sa.Connection, lease_seconds: float) -> None:
    """A replica lives if its counter grows; one that died is a row whose counter does not."""
    query = sa.select(replicas.c.instance, replicas.c.counter)
    before = {(row.instance, row.counter) for row in connection.execute(query)}
    if before:
        time.sleep(lease_seconds)
        if {(row.instance, row.counter) for row in connection.execute(query)} != before:
            raise MoveRefusedError("A shuttle serves from the PostgreSQL database; stop all replicas first.")


def _refuse_content(connection: sa.Connection) -> None:
    for table in (builds, apps, early_sources):
        if connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is not None:
            raise MoveRefusedError("The PostgreSQL database has builds of its own; name an empty database.")


def _copy(connection: sa.Connection, table: sa.Table, rows: Iterable[Row]) -> Sum:
    driver: Any = connection.connection.driver_connection
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.c)
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), columns)
    digest = RowDigest()
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
                digest.add(row)
    except psycopg.Error as error:
        if driver.broken:
            raise StoreError("PostgreSQL does not answer any more; repeat the command.") from error
        reason = error.diag.message_primary or type(error).__name__
        raise MoveRefusedError(f"PostgreSQL refuses a row of the table {table.name} ({reason}).") from error
    return digest.value


def _set_sequence(connection: sa.Connection, table: sa.Table) -> None:
    column = table.autoincrement_column
    if column is not None:
        highest = sa.select(sa.func.coalesce(sa.func.max(column), 0) + 1).scalar_subquery()
        sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
        connection.execute(sa.select(sa.func.setval(sequence, highest, sa.false())))
