"""The stages of a build, as its pipeline reports them: rows of `states` that have the name of a stage."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from shuttle.errors import ConflictError
from shuttle.store.agent import lock_unfinished
from shuttle.store.tables import states
from shuttle.store.tx import Tx

MAX_STATES = 10_000


class StageBoundary(StrEnum):
    """The beginning and the end of a stage."""

    BEGIN = "begin"
    END = "end"


@dataclass(frozen=True, slots=True)
class StageEvent:
    """The beginning or the end of a stage; only an end has `exit_status` and `status`. `event_id` is the agent's."""

    event_id: str
    branch: str
    stage: str
    boundary: StageBoundary
    exit_status: int | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class StageRow:
    """A stage of a build."""

    branch: str
    stage: str
    began_at: datetime
    ended_at: datetime | None
    exit_status: int | None
    status: str | None


_COLUMNS = [states.c[name] for name in StageRow.__dataclass_fields__]


def record_stage_event(tx: Tx, build_uuid: str, event: StageEvent) -> bool:
    """Record the event; False = one with its id is recorded already.

    Raises:
        GoneError: the build is over.
        ConflictError: the build has MAX_STATES states.
    """
    lock_unfinished(tx, build_uuid)
    of_build = states.c.build_uuid == build_uuid
    same = sa.or_(states.c.begin_id == event.event_id, states.c.end_id == event.event_id)
    if tx.execute(sa.select(states.c.position).where(of_build, same)).first() is not None:
        return False
    if event.boundary is StageBoundary.BEGIN:
        add_state(tx, build_uuid, begin_id=event.event_id, branch=event.branch, stage=event.stage)
        return True
    end = {"end_id": event.event_id, "status": event.status, "exit_status": event.exit_status, "ended_at": tx.now.at}
    begun = (of_build, states.c.branch == event.branch, states.c.stage == event.stage, states.c.ended_at.is_(None))
    newest = sa.select(sa.func.max(states.c.position)).where(*begun).scalar_subquery()
    if not tx.execute(states.update().where(of_build, states.c.position == newest).values(end)).rowcount:
        add_state(tx, build_uuid, branch=event.branch, stage=event.stage, **end)
    return True


def add_state(tx: Tx, build_uuid: str, **values: Any) -> int:
    """Add a row of `states` that begins now; returns its position. The caller has locked the build.

    Raises:
        ConflictError: the build has MAX_STATES states.
    """
    known = sa.select(sa.func.coalesce(sa.func.max(states.c.position), 0)).where(states.c.build_uuid == build_uuid)
    position: int = tx.execute(known).scalar_one() + 1
    if position > MAX_STATES:
        raise ConflictError(f"A build may have at most {MAX_STATES} states.")
    tx.execute(states.insert(), {"build_uuid": build_uuid, "position": position, "began_at": tx.now.at} | values)
    return position


def stages_of(tx: Tx, build_uuid: str) -> list[StageRow]:
    """The stages of the build, in the order in which they began."""
    of_build = (states.c.build_uuid == build_uuid, states.c.stage.is_not(None))
    return [StageRow(*row) for row in tx.execute(sa.select(*_COLUMNS).where(*of_build).order_by(states.c.position))]
