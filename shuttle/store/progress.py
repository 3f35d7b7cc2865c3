"""The stages of a build, as its pipeline reports them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shuttle.errors import ConflictError
from shuttle.store.agent import lock_unfinished
from shuttle.store.tables import progress
from shuttle.store.tx import Tx

MAX_EVENTS = 1000


class StageBoundary(StrEnum):
    """The beginning and the end of a stage."""

    BEGIN = "begin"
    END = "end"


@dataclass(frozen=True, slots=True)
class StageEvent:
    """The beginning or the end of a stage; only an end has `code` and `status`."""

    progress_id: str
    branch: str
    stage: str
    event: StageBoundary
    code: int | None
    status: str | None
    at: datetime


_NEW_EVENT = insert(progress).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
_COLUMNS = [progress.c[name] for name in StageEvent.__dataclass_fields__]


def record_stage_event(tx: Tx, build_uuid: str, event: StageEvent) -> bool:
    """Record the event; False = one with its id is recorded already.

    Raises:
        GoneError: the build is over.
        ConflictError: MAX_EVENTS is exceeded.
    """
    lock_unfinished(tx, build_uuid)
    of_build = progress.c.build_uuid == build_uuid
    mine = sa.select(progress.c.progress_id).where(of_build, progress.c.progress_id == event.progress_id)
    if tx.execute(mine).first() is not None:
        return False
    if tx.execute(sa.select(sa.func.count()).where(of_build)).scalar_one() >= MAX_EVENTS:
        raise ConflictError(f"A build may report at most {MAX_EVENTS} beginnings and ends of stages.")
    values = {name: getattr(event, name) for name in StageEvent.__dataclass_fields__}
    row = {"build_uuid": build_uuid} | values
    return tx.execute(_NEW_EVENT, row).rowcount == 1


def stage_events_of(tx: Tx, build_uuid: str) -> list[StageEvent]:
    """All events of the build, in the order in which they were reported."""
    query = (
        sa.select(*_COLUMNS).where(progress.c.build_uuid == build_uuid).order_by(progress.c.at, progress.c.progress_id)
    )
    rows = (dict(row._mapping) for row in tx.execute(query))  # noqa: SLF001 - SQLAlchemy's documented name
    return [StageEvent(**row | {"event": StageBoundary(row["event"])}) for row in rows]
