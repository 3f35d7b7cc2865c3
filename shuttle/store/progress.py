"""The stages of a build, as its pipeline reports them: rows of `states` that have the name of a stage."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from shuttle.errors import ConflictError
from shuttle.logs.stage_places import StageMark, StagePlace
from shuttle.store.agent import lock_unfinished
from shuttle.store.platforms import lowest_state, open_platform
from shuttle.store.prepared import Prepared, Values
from shuttle.store.tables import builds, states
from shuttle.store.tx import Tx

MAX_STATES = 10_000
LAST_CODE = 100
"""The code of a build that has succeeded. If a stage reports it before the end, 99 is recorded instead."""
CLAIM_STAGE, CLAIM_STATE = "claim", 5
"""The first stage: from the claim to the first stage that the supervisor reports."""


class StageBoundary(StrEnum):
    """The beginning and the end of a stage."""

    BEGIN = "begin"
    END = "end"


@dataclass(frozen=True, slots=True)
class StageEvent:
    """The beginning or the end of a stage; only an end has `exit_status` and `status`. `event_id` is the agent's.

    `code` is that of the build's state from then on. `raw_offset` is the size of the claim's stream at this moment.
    """

    event_id: str
    branch: str
    stage: str
    boundary: StageBoundary
    exit_status: int | None = None
    status: str | None = None
    code: int | None = None
    claim_id: int | None = None
    raw_offset: int | None = None


@dataclass(frozen=True, slots=True)
class StageRow:
    """A stage of a build. `log_start` and `log_stop` are None as long as their place in the log is not known.

    A place is never known if the agent has reported no `raw_start` or `raw_stop`.
    """

    position: int
    branch: str
    stage: str
    code: int | None
    began_at: datetime
    ended_at: datetime | None
    exit_status: int | None
    status: str | None
    claim_id: int | None
    raw_start: int | None
    raw_stop: int | None
    log_start: int | None
    log_stop: int | None


_COLUMNS = [states.c[name] for name in StageRow.__dataclass_fields__]
_NEWEST = Prepared(sa.select(sa.func.max(states.c.position)).where(states.c.build_uuid == sa.bindparam("uuid")))
_UNSET: dict[str, Any] = {column.name: None for column in states.c} | {"branch": ""}
INSERT_STATE = Prepared(states.insert().inline(), tuple(_UNSET))
_of_state = (states.c.build_uuid == sa.bindparam("uuid"), states.c.position == sa.bindparam("at"))
_SET_START = states.update().where(*_of_state).values(log_start=sa.bindparam("log_offset"))
# The end of a stage whose place is recorded is found again when a log is reopened, at a later offset.
_SET_STOP = states.update().where(*_of_state, states.c.log_stop.is_(None)).values(log_stop=sa.bindparam("log_offset"))


def record_stage_event(tx: Tx, build_uuid: str, event: StageEvent) -> int | None:
    """Record the event, also in the record of its platform; the state of a build is that of its slowest platform.

    Returns the position of the stage, or None if an event with its id is recorded already.

    Raises:
        GoneError: the build is over.
        ConflictError: the build has MAX_STATES states.
    """
    build = lock_unfinished(tx, build_uuid)
    of_build = states.c.build_uuid == build_uuid
    same = sa.or_(states.c.begin_id == event.event_id, states.c.end_id == event.event_id)
    if tx.execute(sa.select(states.c.position).where(of_build, same)).first() is not None:
        return None
    child = open_platform(tx, build, event.branch)
    if child is None:
        return _add_event(tx, build_uuid, event)
    _add_event(tx, child.build_uuid, replace(event, branch="", claim_id=None, raw_offset=None))
    position = _add_event(tx, build_uuid, event)
    tx.execute(builds.update().where(builds.c.build_uuid == build_uuid).values(state_code=lowest_state(tx, build)))
    return position


def _add_event(tx: Tx, build_uuid: str, event: StageEvent) -> int:
    of_build = states.c.build_uuid == build_uuid
    stage = {"branch": event.branch, "stage": event.stage, "claim_id": event.claim_id}
    if event.code is not None:
        stage["code"] = min(event.code, LAST_CODE - 1)
        tx.execute(builds.update().where(builds.c.build_uuid == build_uuid).values(state_code=stage["code"]))
    if event.boundary is StageBoundary.BEGIN:
        end_claim_stage(tx, build_uuid, event.branch)
        return add_state(tx, build_uuid, begin_id=event.event_id, raw_start=event.raw_offset, **stage)
    end = {
        "end_id": event.event_id,
        "status": event.status,
        "exit_status": event.exit_status,
        "raw_stop": event.raw_offset,
        "ended_at": tx.now.at,
    }
    begun = (of_build, states.c.branch == event.branch, states.c.stage == event.stage, states.c.ended_at.is_(None))
    newest: int | None = tx.execute(sa.select(sa.func.max(states.c.position)).where(*begun)).scalar()
    if newest is None:
        return add_state(tx, build_uuid, **stage, **end)
    tx.execute(states.update().where(of_build, states.c.position == newest).values(end))
    return newest


def begin_claim_stage(tx: Tx, build_uuid: str, branch: str) -> None:
    """A step has claimed the build: its first stage begins. The caller has locked the build."""
    end_claim_stage(tx, build_uuid, branch)
    add_state(tx, build_uuid, branch=branch, stage=CLAIM_STAGE, code=CLAIM_STATE)
    first = (builds.c.build_uuid == build_uuid, builds.c.state_code.is_(None))
    tx.execute(builds.update().where(*first).values(state_code=CLAIM_STATE))


def end_claim_stage(tx: Tx, build_uuid: str, branch: str) -> None:
    """End the first stage of a step, unless it has ended already."""
    begun = (states.c.build_uuid == build_uuid, states.c.branch == branch, states.c.stage == CLAIM_STAGE)
    ended = {"ended_at": tx.now.at, "status": "succeeded"}
    tx.execute(states.update().where(*begun, states.c.ended_at.is_(None)).values(ended))


def add_state(tx: Tx, build_uuid: str, **values: Any) -> int:
    """Add a row of `states` that begins now; returns its position. The caller has locked the build.

    Raises:
        ConflictError: the build has MAX_STATES states.
    """
    ((newest,),) = _NEWEST.fetch(tx, {"uuid": build_uuid})
    row = new_state(tx, build_uuid, newest, **values)
    INSERT_STATE.run(tx, [row])
    position: int = row["position"]
    return position


def new_state(tx: Tx, build_uuid: str, newest: int | None, **values: Any) -> Values:
    """The row of a state that begins now, for INSERT_STATE; `newest` is the highest position of the build's states.

    Raises:
        ConflictError: the build has MAX_STATES states.
    """
    position = (newest or 0) + 1
    if position > MAX_STATES:
        raise ConflictError(f"A build may have at most {MAX_STATES} states.")
    return {**_UNSET, "build_uuid": build_uuid, "position": position, "began_at": tx.now.at, **values}


def stages_of(tx: Tx, build_uuid: str) -> list[StageRow]:
    """The stages of the build, in the order in which they began."""
    of_build = (states.c.build_uuid == build_uuid, states.c.stage.is_not(None))
    return [StageRow(*row) for row in tx.execute(sa.select(*_COLUMNS).where(*of_build).order_by(states.c.position))]


def stage_at(tx: Tx, build_uuid: str, position: int) -> StageRow | None:
    """The stage with this position; None = the build was deleted."""
    which = (states.c.build_uuid == build_uuid, states.c.position == position)
    row = tx.execute(sa.select(*_COLUMNS).where(*which)).first()
    return None if row is None else StageRow(*row)


def marks_of(stages: Sequence[StageRow]) -> list[tuple[StageRow, StageMark]]:
    """The beginnings and ends of the stages in the streams of their claims."""
    marks = []
    for stage in stages:
        for raw_offset, is_end in ((stage.raw_start, False), (stage.raw_stop, True)):
            if raw_offset is not None and stage.claim_id is not None:
                marks.append((stage, StageMark(raw_offset, is_end, stage.position)))
    return marks


def record_places(tx: Tx, build_uuid: str, places: Sequence[StagePlace]) -> None:
    """Record where stages begin and end in the log; call it in the transaction that records the log's bytes."""
    for is_end, statement in ((False, _SET_START), (True, _SET_STOP)):
        rows = [
            {"uuid": build_uuid, "at": one.position, "log_offset": one.log_offset}
            for one in places
            if one.is_end is is_end
        ]
        if rows:
            tx.execute(statement, rows)
