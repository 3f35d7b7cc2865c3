"""The variables of a build: what a later build that resumes it needs to know. Sensitive values are encrypted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shuttle.errors import ConflictError, NotFoundError
from shuttle.store.record_sizes import check_size
from shuttle.store.tables import variables
from shuttle.store.tx import Tx

MAX_OF_RECORD = 1000


@dataclass(frozen=True, slots=True)
class VariableRow:
    """A variable; `sealed` is the encrypted value of a sensitive one, whose `value` is empty."""

    name: str
    value: str
    kind: str
    sealed: bytes | None
    state_code: int | None
    required: bool
    created_at: datetime | None
    updated_at: datetime | None


_COLUMNS = [variables.c[name] for name in VariableRow.__dataclass_fields__]


def put_variable(
    tx: Tx,
    build_uuid: str,
    name: str,
    values: Mapping[str, Any],
    seal: Callable[[bytes], bytes],
    *,
    sensitive: bool = False,
) -> bool:
    """Set the variable, or change only these columns of it; returns whether it is new.

    A sensitive variable stays sensitive. The caller has locked the build. Raises ConflictError if the variables of the
    build would be too large.
    """
    known = find_variable(tx, build_uuid, name)
    row = dict(values)
    if sensitive or (known is not None and known.sealed is not None):
        plain = row.get("value", known.value if known is not None else "")
        unchanged = known is not None and known.sealed is not None and "value" not in row
        row |= {"value": ""} | ({} if unchanged else {"sealed": seal(plain.encode())})
    check_size(tx, variables, build_uuid, row, variables.c.name != name)
    row["updated_at"] = tx.now.at
    if known is not None:
        same = (variables.c.build_uuid == build_uuid, variables.c.name == name)
        tx.execute(variables.update().where(*same).values(row))
        return False
    tx.execute(variables.insert(), {"build_uuid": build_uuid, "name": name, "created_at": tx.now.at} | row)
    return True


def find_variable(tx: Tx, build_uuid: str, name: str) -> VariableRow | None:
    """The variable of that name."""
    same = (variables.c.build_uuid == build_uuid, variables.c.name == name)
    row = tx.execute(sa.select(*_COLUMNS).where(*same)).first()
    return None if row is None else VariableRow(*row)


def known_variable(tx: Tx, build_uuid: str, name: str) -> VariableRow:
    """The variable of that name; raises NotFoundError if there is none."""
    found = find_variable(tx, build_uuid, name)
    if found is None:
        raise NotFoundError("Variable not found")
    return found


def variables_of(tx: Tx, build_uuid: str, *, required: bool | None = None) -> list[VariableRow]:
    """The build's variables, sorted by name; `required` None = both required and optional ones."""
    query = sa.select(*_COLUMNS).where(variables.c.build_uuid == build_uuid).order_by(variables.c.name)
    if required is not None:
        query = query.where(variables.c.required == required)
    return [VariableRow(*row) for row in tx.execute(query)]


def check_room(tx: Tx, build_uuid: str) -> None:
    """Raise ConflictError if the build has MAX_OF_RECORD variables."""
    query = sa.select(sa.func.count()).select_from(variables).where(variables.c.build_uuid == build_uuid)
    if tx.execute(query).scalar_one() >= MAX_OF_RECORD:
        raise ConflictError(f"A build may have at most {MAX_OF_RECORD} variables.")


def delete_variable(tx: Tx, build_uuid: str, name: str) -> None:
    """Delete the variable; raises NotFoundError if there is none."""
    same = (variables.c.build_uuid == build_uuid, variables.c.name == name)
    if not tx.execute(variables.delete().where(*same)).rowcount:
        raise NotFoundError("Variable not found")
