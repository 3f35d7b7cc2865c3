"""Records the states that callers report of a build; a state may end a record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from shuttle.build import Api, Ending, State
from shuttle.errors import InvalidRequestError, NotFoundError
from shuttle.store.prepared import Call, Prepared, fetch_together
from shuttle.store.progress import INSERT_STATE, LAST_CODE, new_state
from shuttle.store.record_sizes import FEW_STATES, check_size
from shuttle.store.records import begin_record, known_build, note_call, written_build
from shuttle.store.state_codes import call_for_codes
from shuttle.store.tables import builds, states
from shuttle.store.transitions import finish_build
from shuttle.store.tx import Tx

_COMPLETED = "completed"
# With these words as status, the code 100 does not mean that the build has succeeded: it continues, or has failed.
_CONTINUES = frozenset({"running", "pending", "in_progress", "in-progress", "started"})
_FAILS = frozenset({"failed", "failure", "error"})


@dataclass(frozen=True, slots=True)
class StateReport:
    """What a caller reports: a code or the name of one. `details` has the remaining fields.

    `final` False = the code 100 does not end the record, for example because its CI system uses codes up to 999. It has
    no effect in a project that has state codes.
    """

    code: int | None = None
    name: str | None = None
    status: str | None = None
    message: str | None = None
    details: Mapping[str, Any] | None = None
    final: bool = True


class StateRow(NamedTuple):
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


class _Locked(NamedTuple):
    """What a report has to know of its build, whose row is locked: few of its sixty columns."""

    build_uuid: str
    app_id: str
    api: Api
    state: State
    state_code: int | None
    of_platform: bool


_LOCKED_COLUMNS = (builds.c.build_uuid, builds.c.app_id, builds.c.api, builds.c.state, builds.c.state_code)
_LOCK = Prepared(
    sa.select(*_LOCKED_COLUMNS, builds.c.record)
    .where(builds.c.build_uuid == sa.bindparam("uuid"))
    .with_for_update(key_share=True)
)
_STATE_COLUMNS = [states.c[name] for name in StateRow._fields]
_OF_BUILD = states.c.build_uuid == sa.bindparam("uuid")
_ALL = Prepared(sa.select(*_STATE_COLUMNS).where(_OF_BUILD).order_by(states.c.position))
_newest = sa.select(sa.func.max(states.c.position).label("newest")).where(_OF_BUILD).subquery()
_last = (
    sa.select(*_STATE_COLUMNS)
    .where(_OF_BUILD, states.c.stage.is_(None))
    .order_by(states.c.position.desc())
    .limit(1)
    .subquery()
)
_LAST = Prepared(sa.select(_newest.c.newest, *_last.c).select_from(_newest.outerjoin(_last, sa.true())))
_END = Prepared(
    states.update().where(_OF_BUILD, states.c.position == sa.bindparam("at")).values(ended_at=sa.bindparam("end"))
)
_SET_CODE = Prepared(
    builds.update()
    .where(builds.c.build_uuid == sa.bindparam("uuid"))
    .values(state_code=sa.bindparam("new_code"), called_steady_at=sa.bindparam("now"))
)


def states_of(tx: Tx, build_uuid: str) -> list[StateRow]:
    """The states and stages of the build, in the order in which they began."""
    return [StateRow._make(row) for row in _ALL.fetch(tx, {"uuid": build_uuid})]


# Names and fields of the state codes of a project.
_Codes = Sequence[tuple[str, Mapping[str, Any]]]


class _Known(NamedTuple):
    """What is recorded of a build before a report: the last state (None = none), the highest position, the codes."""

    last: StateRow | None
    newest: int | None
    codes: _Codes


@dataclass(frozen=True, slots=True)
class _Code:
    """What a code means in a project: `ending` None = the build continues."""

    code: int
    ending: Ending | None


def record_state(tx: Tx, build_uuid: str, report: StateReport) -> tuple[str, StateRow]:
    """Record the state, and end the one before it; a record may end, too. An equal report is not recorded again.

    Returns the uuid of the build that has the state (see `written_build`), and the state.

    A second report of the same code with the status `completed` closes the first one. If the project has no state
    codes, 100 ends the record as succeeded; with a status like `failed` it ends as failed, and with a status like
    `in_progress` it continues.

    Raises:
        NotFoundError: there is no such build. EndedBuildError: it has ended.
        ConflictError: it has too many states, or too large ones.
    """
    build = _lock(tx, build_uuid)
    known = _known(tx, build)
    last, meaning = known.last, _meaning_of(build, known.codes, report)
    status = _status_of(report)
    if meaning.ending is not None and build.state is State.RECORDED and build.build_uuid != build_uuid:
        repeated = _repeated_end(tx, build_uuid, known.codes, report)
        if repeated is not None:
            return build_uuid, repeated
    if last is not None and _is_repeat(last, meaning.code, status, report):
        note_call(tx, build.build_uuid)
        return build.build_uuid, last
    if build.state.final:
        raise EndedBuildError
    closes = last is not None and last.code == meaning.code and last.ended_at is None and _is_completed(status)
    closed = last if closes else None
    if (known.newest or 0) >= FEW_STATES:
        new = {"details": report.details or None, "message": report.message, "status": status}
        replaced_position = 0 if closed is None else closed.position  # that of no state is 0
        check_size(tx, states, build.build_uuid, new, states.c.position != replaced_position)
    if build.api is Api.RECORD and build.state is State.RECORDED:
        begin_record(tx, known_build(tx, build.build_uuid))
    writes = list[Call]()
    if closed is not None:
        row = _close(tx, build.build_uuid, closed, report)
    else:
        row, writes = _added(tx, build.build_uuid, known, replace(report, code=meaning.code, status=status))
    changed = {"uuid": build.build_uuid, "new_code": meaning.code, "now": tx.now.steady}
    fetch_together(tx, [*writes, Call(_SET_CODE, changed)])
    if meaning.ending is None or build.api is not Api.RECORD:
        return build.build_uuid, row
    finish_build(tx, build.build_uuid, meaning.ending)
    return build.build_uuid, row._replace(ended_at=tx.now.at)


def _repeated_end(tx: Tx, build_uuid: str, codes: _Codes, report: StateReport) -> StateRow | None:
    """The last state of the build with this uuid, if the report equals it; see `records.ended_before`."""
    build = _locked(tx, build_uuid)
    if build is None:
        return None
    last, meaning = _known(tx, build).last, _meaning_of(build, codes, report)
    return last if last is not None and _is_repeat(last, meaning.code, _status_of(report), report) else None


def _status_of(report: StateReport) -> str | None:
    return report.status or (report.name if report.code is None else None)


def _close(tx: Tx, build_uuid: str, last: StateRow, report: StateReport) -> StateRow:
    """End the last state, with the status, message and details of this report."""
    closed = last._replace(
        status=report.status,
        message=report.message or last.message,
        details={**(last.details or {}), **(report.details or {})} or None,
        ended_at=tx.now.at,
    )
    which = (states.c.build_uuid == build_uuid, states.c.position == last.position)
    changed = {name: getattr(closed, name) for name in ("status", "message", "details", "ended_at")}
    tx.execute(states.update().where(*which).values(changed))
    return closed


def _added(tx: Tx, build_uuid: str, known: _Known, report: StateReport) -> tuple[StateRow, list[Call]]:
    """The new last state, and the writes that record it and end the one before."""
    code, status, message, details = report.code, report.status, report.message, report.details or None
    row = new_state(tx, build_uuid, known.newest, code=code, status=status, message=message, details=details)
    writes = [Call(INSERT_STATE, row)]
    if known.last is not None and known.last.ended_at is None:
        writes.insert(0, Call(_END, {"uuid": build_uuid, "at": known.last.position, "end": tx.now.at}))
    return StateRow(row["position"], "", None, code, status, None, message, tx.now.at, None, details), writes


def _lock(tx: Tx, build_uuid: str) -> _Locked:
    """Lock the build that a report goes to, as `lock_written` does. Raises NotFoundError."""
    locked = _locked(tx, build_uuid)
    if locked is not None and not locked.state.final:
        return locked
    locked = _locked(tx, written_build(tx, build_uuid).build_uuid)
    if locked is None:  # it was deleted in between
        raise NotFoundError("Build not found")
    return locked


def _locked(tx: Tx, build_uuid: str) -> _Locked | None:
    for uuid, app_id, api, state, state_code, record in _LOCK.fetch(tx, {"uuid": build_uuid}):
        of_platform = api == Api.RECORD and bool((record or {}).get("of_platform"))
        return _Locked(uuid, app_id, Api(api), State(state), state_code, of_platform)
    return None


def _is_repeat(last: StateRow, code: int, status: str | None, report: StateReport) -> bool:
    """Whether the report equals the recorded state.

    A `completed` report may leave out message and details: the recorded state has them from an earlier report.
    """
    if (last.code, last.status) != (code, status):
        return False
    known, reported = dict(last.details or {}), dict(report.details or {})
    if _is_completed(status):
        return report.message in {None, last.message} and known | reported == known
    return (last.message, known) == (report.message, reported)


def _is_completed(status: str | None) -> bool:
    return status is not None and status.strip().lower() == _COMPLETED


def _meaning_of(build: _Locked, codes: _Codes, report: StateReport) -> _Code:
    """The reported code, and the ending that it means for the record.

    The project's state codes decide what a code means; without any, 100 is the end. A build that the service runs, and
    the records of its platforms, do not succeed by a report: they succeed when the pipeline ends.
    """
    by_name = {name.lower(): fields for name, fields in codes}
    by_code = {fields["code"]: fields for _, fields in codes}
    named = by_name.get((report.name or "").lower())
    code = report.code if report.code is not None else named["code"] if named else build.state_code or 0
    if build.api is not Api.RECORD:
        return _Code(min(code, LAST_CODE - 1), None)
    fields = by_name.get((report.status or "").lower()) or named or by_code.get(code) or {}
    ending = _ending_of(fields, report)
    if not codes and report.code == LAST_CODE and report.final:
        ending = _ending_of_last(report)
    if build.of_platform:
        code, ending = min(code, LAST_CODE - 1), None if ending == Ending(State.SUCCEEDED) else ending
    return _Code(code, ending)


def _ending_of_last(report: StateReport) -> Ending | None:
    """What the code 100 means; a status may be any text, and only a single known word changes the meaning."""
    word = (report.status or "").strip().lower()
    if word in _FAILS:
        return Ending(State.FAILED, "reported_failure", report.message or "The CI system said that the build failed.")
    return None if word in _CONTINUES else Ending(State.SUCCEEDED)


def _ending_of(fields: Mapping[str, Any], report: StateReport) -> Ending | None:
    if fields.get("is_error"):
        return Ending(
            State.FAILED, "reported_failure", report.message or "A state code of the project means a failure."
        )
    return Ending(State.SUCCEEDED) if fields.get("is_final") or fields.get("is_terminal") else None


def _known(tx: Tx, build: _Locked) -> _Known:
    """Call it after the build is locked, because other reports change what it reads."""
    ((newest, *last),), codes = fetch_together(
        tx, [Call(_LAST, {"uuid": build.build_uuid}), call_for_codes(build.app_id)]
    )
    last_state = None if last[0] is None else StateRow._make(last)
    return _Known(last_state, newest, [(name, fields) for name, fields in codes])
