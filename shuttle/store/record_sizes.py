"""Limits what the rows of a record may have together: some calls read all of them at once."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from shuttle.errors import ConflictError
from shuttle.request import compact_json
from shuttle.store.tables import artifacts, failures, states, variables
from shuttle.store.tx import Tx

MAX_BYTES = 8 * 1024 * 1024
# What is smaller is limited by the number of the rows alone: the 10,000 states that a build may have are 2.5 MiB then.
_SMALL_BYTES = 256
# So many states need no check: two metadata of 64 KiB, three texts of 4 KiB each.
FEW_STATES = 50
# The columns that callers fill with texts of any length. 100 jobs cannot have more than MAX_BYTES.
_COLUMNS: Mapping[sa.Table, tuple[sa.Column[Any], ...]] = {
    states: (states.c.details, states.c.message, states.c.status),
    failures: (failures.c.details, failures.c.message),
    artifacts: (artifacts.c.reference,),
    variables: (variables.c.value, variables.c.sealed),
}


def check_size(
    tx: Tx, table: sa.Table, build_uuid: str, new: Mapping[str, Any], *others: sa.ColumnElement[bool]
) -> None:
    """Check whether a row with these values may be added to the rows of the build for which `others` hold.

    Raises ConflictError if they would have more than MAX_BYTES together, and the row is not small.
    """
    columns = _COLUMNS[table]
    added = sum(_size_of(new.get(column.name)) for column in columns)
    if added <= _SMALL_BYTES:
        return
    sizes = (sa.func.coalesce(sa.func.length(_as_stored(column)), 0) for column in columns)
    row_size = sum(sizes, start=sa.literal(0))
    total = sa.select(sa.func.coalesce(sa.func.sum(row_size), 0)).where(table.c.build_uuid == build_uuid, *others)
    if tx.execute(total).scalar_one() + added > MAX_BYTES:
        raise ConflictError(
            f"The {table.name} of a build may have at most {MAX_BYTES} bytes together; leave long texts out."
        )


def _as_stored(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    return sa.cast(column, sa.Text) if isinstance(column.type, sa.JSON) else column


def _size_of(value: Any) -> int:
    if value is None:
        return 0
    return len(value if isinstance(value, str | bytes) else compact_json(value))
