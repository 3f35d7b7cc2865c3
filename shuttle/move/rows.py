"""The rows of all tables that are moved, in a form that both databases read alike, and digests of them."""

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shuttle.move import Sum
from shuttle.store.tables import log_pieces, metadata, moves, replicas, schema_release

# These belong to the database, not to its content. SQLite has no pieces of logs; see `running_logs`.
_NOT_MOVED = {moves, replicas, schema_release}
MOVED_TABLES = [table for table in metadata.sorted_tables if table not in _NOT_MOVED]
COPIED_TABLES = [table for table in MOVED_TABLES if table is not log_pieces]
_AT_ONCE = 1000

Row = tuple[Any, ...]


class RowDigest:
    """Counts the rows of a table, and hashes them in the order in which they are added."""

    def __init__(self) -> None:
        self._count = 0
        self._hashed = hashlib.sha256()

    def add(self, row: Row) -> None:
        """Add the next row."""
        self._count += 1
        self._hashed.update(json.dumps([_plain(value) for value in row], ensure_ascii=False).encode() + b"\n")

    @property
    def value(self) -> Sum:
        """Count and digest of the rows so far."""
        return Sum(self._count, self._hashed.hexdigest())


def rows_of(connection: sa.Connection, table: sa.Table) -> Iterator[Row]:
    """The table's rows, sorted by the bytes of their keys; JSON is text, so that not a character of it changes."""
    key = [_sortable(connection, column) for column in table.primary_key.columns]
    query = sa.select(*(_readable(connection, column) for column in table.c)).order_by(*key)
    for row in connection.execute(query.execution_options(yield_per=_AT_ONCE)):
        yield tuple(_without_nul(value) for value in row)


def _without_nul(value: Any) -> Any:
    """The value as PostgreSQL can store it: earlier versions wrote NUL into messages and endings of logs.

    The text keeps its length, because `log_bytes` counts the bytes of `log_ending`.
    """
    return value.replace("\0", "?") if isinstance(value, str) else value


def sum_of(connection: sa.Connection, table: sa.Table) -> Sum:
    """Count and digest of the table's rows."""
    digest = RowDigest()
    for row in rows_of(connection, table):
        digest.add(row)
    return digest.value


def _readable(connection: sa.Connection, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    if not isinstance(column.type, sa.JSON):
        return column
    on_sqlite = connection.dialect.name == "sqlite"
    return sa.type_coerce(column, sa.Text) if on_sqlite else sa.cast(column, sa.Text)


def _sortable(connection: sa.Connection, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    is_text = isinstance(column.type, sa.Text) and connection.dialect.name == "postgresql"
    return column.collate("C") if is_text else column


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else value
