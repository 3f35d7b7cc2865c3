"""Records the states that callers report of a build; a state may end a record."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shuttle.build import Api, Build, Ending, State, project_id_of
from shuttle.errors import InvalidRequestError
from shuttle.store.builds import lock_build, reread
from shuttle.store.progress import LAST_CODE, add_state
from shuttle.store.records import begin_record, note_call, written_build
from shuttle.store.references import Kind
from shuttle.store.tables import builds, reference, states
from shuttle.store.transitions import finish_build
from shuttle.store.tx import Tx

_COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class StateReport:
    """What a caller reports: a code or the name of one. `details` has the remaining fields.

    `final` False = the code 100 does not end the record: its CI system counts to 999.
    """

    code: int | None = None
    name: str | None = None
    status: str | None = None
    message: str | None = None
    details: Mapping[str, Any] | None = None
    final: bool = True


@dataclass(frozen=True, slots=True)
class StateRow:
    """A state of a build. Stages of pipelines have `stage`."""

    position: int
    branch: str
    stage: str | None
    code: int | None
    status: str | None
    exit_status: int | None
    message: str | None
    began_at: datetime
    ended_at: datetime | None
    details: Mapping[str, Any] | None


class EndedBuildError(InvalidRequestError):
    """The build has ended, so its state does not change any more."""

    def __init__(self) -> None:
        super().__init__("Cannot transition a completed or failed build.")


_STATE_COLUMNS = [states.c[name] for name in StateRow.__dataclass_fields__]


def states_of(tx: Tx, build_uuid: str) -> list[StateRow]:
    """The states and stages of the build, in the order in which they began."""
    query = sa.select(*_STATE_COLUMNS).where(states.c.build_uuid == build_uuid).order_by(states.c.position)
    return [StateRow(*row) for row in tx.execute(query)]


@dataclass(frozen=True, slots=True)
class _Code:
    """What a code means in a project: `ending` None = the build continues."""

    code: int
    ending: Ending | None


def record_state(tx: Tx, build_uuid: str, report: StateReport) -> tuple[Build, StateRow]:
    """Record the state, which ends the one before; a record may end by it. An equal report is not recorded again.

    A second report of the same code with the status `completed` closes the first one.

    Raises:
        NotFoundError: there is no such build. EndedBuildError: it has ended.
        ConflictError: it has too many states.
    """
    build = lock_written(tx, build_uuid)
    last = _last_state(tx, build.build_uuid)
    meaning = _meaning_of(tx, build, report)
    status = report.status or (report.name if report.code is None else None)
    said = (meaning.code, status, report.message, report.details or None)
    if last is not None and (last.code, last.status, last.message, last.details or None) == said:
        return build, last
    if build.state.final:
        raise EndedBuildError
    build = begin_record(tx, build)
    note_call(tx, build.build_uuid)
    if last is not None and last.code == meaning.code and last.ended_at is None and _is_completed(status):
        closing: dict[str, Any] = {"status": status, "message": report.message or last.message, "ended_at": tx.now.at}
        closing["details"] = {**(last.details or {}), **(report.details or {})} or None
        _update_state(tx, build.build_uuid, last.position, closing)
        position = last.position
    else:
        _end_open_state(tx, build.build_uuid)
        values = {"code": meaning.code, "status": status, "message": report.message, "details": report.details or None}
        position = add_state(tx, build.build_uuid, **values)
        tx.execute(builds.update().where(builds.c.build_uuid == build.build_uuid).values(state_code=meaning.code))
    if meaning.ending is not None and build.api is Api.RECORD:
        finish_build(tx, build.build_uuid, meaning.ending)
    return reread(tx, build), _state_at(tx, build.build_uuid, position)


def lock_written(tx: Tx, build_uuid: str) -> Build:
    """The build that a write goes to (see `written_build`), locked. Raises NotFoundError."""
    target = written_build(tx, build_uuid)
    return lock_build(tx, target.build_uuid) or target


def _is_completed(status: str | None) -> bool:
    return status is not None and status.strip().lower() == _COMPLETED


def _meaning_of(tx: Tx, build: Build, report: StateReport) -> _Code:
    """The code that is reported, and whether it ends the record: by the project's codes, else 100 is the end."""
    codes = codes_of(tx, build.app_id)
    by_name = {name.lower(): fields for name, fields in codes}
    by_code = {fields["code"]: fields for _, fields in codes}
    named = by_name.get((report.name or "").lower())
    code = report.code if report.code is not None else named["code"] if named else build.state_code or 0
    if build.api is not Api.RECORD:
        return _Code(min(code, LAST_CODE - 1), None)
    if not codes:
        complete = report.code == LAST_CODE and report.final
        return _Code(code, Ending(State.SUCCEEDED) if complete else None)
    fields = by_name.get((report.status or "").lower()) or named or by_code.get(code) or {}
    return _Code(code, _ending_of(fields, report))


def _ending_of(fields: Mapping[str, Any], report: StateReport) -> Ending | None:
    if fields.get("is_error"):
        return Ending(
            State.FAILED, "reported_failure", report.message or "A state code of the project means a failure."
        )
    return Ending(State.SUCCEEDED) if fields.get("is_final") or fields.get("is_terminal") else None


def codes_of(tx: Tx, app_id: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Names and fields of the project's state codes."""
    of_project = (reference.c.kind == Kind.STATE_CODE, reference.c.scope == project_id_of(app_id))
    query = sa.select(reference.c.name, reference.c.fields).where(*of_project, reference.c.deactivated_at.is_(None))
    return [(row.name, row.fields) for row in tx.execute(query)]


def _last_state(tx: Tx, build_uuid: str) -> StateRow | None:
    reported = (states.c.build_uuid == build_uuid, states.c.stage.is_(None))
    query = sa.select(*_STATE_COLUMNS).where(*reported).order_by(states.c.position.desc()).limit(1)
    row = tx.execute(query).first()
    return None if row is None else StateRow(*row)


def _state_at(tx: Tx, build_uuid: str, position: int) -> StateRow:
    which = (states.c.build_uuid == build_uuid, states.c.position == position)
    return StateRow(*tx.execute(sa.select(*_STATE_COLUMNS).where(*which)).one())


def _update_state(tx: Tx, build_uuid: str, position: int, values: Mapping[str, Any]) -> None:
    which = (states.c.build_uuid == build_uuid, states.c.position == position)
    tx.execute(states.update().where(*which).values(values))


def _end_open_state(tx: Tx, build_uuid: str) -> None:
    unended = (states.c.build_uuid == build_uuid, states.c.stage.is_(None), states.c.ended_at.is_(None))
    tx.execute(states.update().where(*unended).values(ended_at=tx.now.at))
