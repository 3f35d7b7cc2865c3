"""Creates and drops an index of a table that may be large, for migrations: on PostgreSQL without blocking writes."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op


def create_large_index(
    name: str, table: str, columns: Sequence[str | sa.TextClause], *, where: str | None = None, unique: bool = False
) -> None:
    """Create the index; `where` makes it a partial one.

    On PostgreSQL this commits what the migration did before, and a killed migration runs again from its beginning. So
    everything before it must be repeatable. An index that a killed run has left unfinished is made again.
    """
    condition = None if where is None else sa.text(where)
    if op.get_bind().dialect.name != "postgresql":
        op.create_index(name, table, columns, sqlite_where=condition, unique=unique)
        return
    with op.get_context().autocommit_block():
        if _is_unfinished(name):
            op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)
        op.create_index(
            name,
            table,
            columns,
            postgresql_where=condition,
            unique=unique,
            postgresql_concurrently=True,
            if_not_exists=True,
        )


def drop_large_index(name: str, table: str) -> None:
    """Drop the index, if it exists; see `create_large_index` for what has to be repeatable."""
    if op.get_bind().dialect.name != "postgresql":
        op.drop_index(name, table, if_exists=True)
        return
    with op.get_context().autocommit_block():
        op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)


def _is_unfinished(name: str) -> bool:
    query = sa.text("SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
    return bool(op.get_bind().execute(query, {"name": name}).scalar())
