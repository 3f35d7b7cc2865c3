"""Records the failures that callers report of a build, and the ends of records."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shuttle.build import Api, Build, Ending, State
from shuttle.errors import ConflictError
from shuttle.store.builds import reread
from shuttle.store.prepared import Prepared
from shuttle.store.record_sizes import check_size
from shuttle.store.record_states import EndedBuildError
from shuttle.store.records import begin_record, ended_before, lock_written
from shuttle.store.tables import failures
from shuttle.store.transitions import finish_build
from shuttle.store.tx import Tx

MAX_FAILURES = 1000


@dataclass(frozen=True, slots=True)
class FailureReport:
    """A failure; `code` None or -1 = the build's current state code."""

    code: int | None
    kind: str
    message: str
    component: str | None = None
    retryable: bool = False
    retry_attempt: int = 0
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FailureRow:
    """A recorded failure."""

    position: int
    state_code: int | None
    kind: str
    message: str
    component: str | None
    retryable: bool
    retry_attempt: int
    details: Mapping[str, Any] | None
    created_at: datetime
    resolved_at: datetime | None
    resolution_notes: str | None


_FAILURE_COLUMNS = [failures.c[name] for name in FailureRow.__dataclass_fields__]
_OF_BUILD = Prepared(
    sa.select(*_FAILURE_COLUMNS).where(failures.c.build_uuid == sa.bindparam("uuid")).order_by(failures.c.position)
)


def failures_of(tx: Tx, build_uuid: str) -> list[FailureRow]:
    """The failures of the build, in the order in which they were reported."""
    return [FailureRow(*row) for row in _OF_BUILD.fetch(tx, {"uuid": build_uuid})]


def record_failure(tx: Tx, build_uuid: str, report: FailureReport) -> tuple[Build, FailureRow]:
    """Record the failure; a build that another CI system runs ends by it. An equal report is not recorded again.

    Raises:
        NotFoundError: there is no such build. EndedBuildError: it has ended.
        ConflictError: it has too many failures, or too large ones.
    """
    build = lock_written(tx, build_uuid)
    earlier = ended_before(tx, build_uuid, build)
    for recorded in (build,) if earlier is None else (earlier, build):
        repeated = _repeated(tx, recorded, report)
        if repeated is not None:
            return recorded, repeated
    if build.state.final:
        raise EndedBuildError
    known = failures_of(tx, build.build_uuid)
    if len(known) >= MAX_FAILURES:
        raise ConflictError(f"A build may have at most {MAX_FAILURES} failures.")
    check_size(tx, failures, build.build_uuid, {"details": report.details or None, "message": report.message})
    build = begin_record(tx, build)
    row = FailureRow(
        position=len(known) + 1,
        state_code=_code_of(build, report),
        kind=report.kind,
        message=report.message,
        component=report.component,
        retryable=report.retryable,
        retry_attempt=report.retry_attempt,
        details=report.details or None,
        created_at=tx.now.at,
        resolved_at=None,
        resolution_notes=None,
    )
    tx.execute(failures.insert(), {"build_uuid": build.build_uuid} | _columns(row))
    if build.api is Api.RECORD:
        finish_build(tx, build.build_uuid, Ending(State.FAILED, "reported_failure", report.message))
    return reread(tx, build), row


def _repeated(tx: Tx, build: Build, report: FailureReport) -> FailureRow | None:
    """The failure that equals the report: the last one, or any one of a build that has ended."""
    known = failures_of(tx, build.build_uuid)
    rows, code = known if build.state.final else known[-1:], _code_of(build, report)
    return next((row for row in rows if _is_repeat(row, code, report)), None)


def _code_of(build: Build, report: FailureReport) -> int | None:
    return build.state_code if report.code in {None, -1} else report.code


def _is_repeat(last: FailureRow, code: int | None, report: FailureReport) -> bool:
    reported = (code, report.kind, report.message, report.component, report.retryable, report.retry_attempt)
    known = (last.state_code, last.kind, last.message, last.component, last.retryable, last.retry_attempt)
    return reported == known and (report.details or None) == (last.details or None)


def _columns(row: FailureRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FailureRow.__dataclass_fields__}


def repeated_end(tx: Tx, build_uuid: str, written: Build, ending: Ending) -> Build | None:
    """The build with this uuid, if it has ended so and the report may repeat that; see `ended_before`."""
    earlier = ended_before(tx, build_uuid, written)
    return earlier if earlier is not None and earlier.state is ending.state else None


def end_record(tx: Tx, build_uuid: str, ending: Ending) -> Build:
    """End the record as its CI system reports; a build that Jenkins runs is not changed.

    The record of a platform does not succeed by this either: it succeeds when the platform's branch ends.

    Raises:
        NotFoundError: there is no such build. EndedBuildError: it has ended in another way.
    """
    build = lock_written(tx, build_uuid)
    ended = repeated_end(tx, build_uuid, build, ending)
    if ended is not None:
        return ended
    if build.state.final:
        if build.state is not ending.state:
            raise EndedBuildError
        return build
    if build.api is not Api.RECORD or (build.of_platform and ending.state is State.SUCCEEDED):
        return build
    build = begin_record(tx, build)
    finish_build(tx, build.build_uuid, ending)
    return reread(tx, build)
