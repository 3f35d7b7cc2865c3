"""Failed builds that are going to be resumed by themselves: which, when, and what makes that needless."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from shuttle.build import Api, Build, State, StopCause
from shuttle.errors import ConflictError
from shuttle.store.builds import find_build
from shuttle.store.new_build import NewBuild
from shuttle.store.platforms import platform_records
from shuttle.store.tables import apps, auto_resumes, builds, failures
from shuttle.store.tx import Tx

_RESUMED = frozenset({State.FAILED, State.TIMEDOUT})
_NOT_SUCCEEDED = (State.FAILED.value, State.STOPPED.value, State.TIMEDOUT.value)


class WaitingResume(NamedTuple):
    """A failed build that is going to be resumed at `due_at` (steady time)."""

    build_uuid: str
    app_id: str
    epoch: int
    due_at: datetime


class PlannedResume(NamedTuple):
    """The plan of one build: `due_at` is on steady time, `attempts_left` counts this resume."""

    due_at: datetime
    attempts_left: int


def plan_resume(tx: Tx, build: Build) -> None:
    """Plan the resume of a build that has just ended, if its request and its failure say so.

    Call it before the outcome of the build is recorded as a failure: what its process said decides.
    """
    wanted = (build.record or {}).get("auto_resume")
    if wanted is None or build.state not in _RESUMED or build.stop_cause is StopCause.STOPPED:
        return
    if _is_retryable(tx, build):
        due_at = tx.now.steady + timedelta(seconds=wanted["after_seconds"])
        row = {"build_uuid": build.build_uuid, "app_id": build.app_id, "due_steady_at": due_at}
        tx.execute(auto_resumes.insert(), row)


def unwant_resumes(tx: Tx, *stopped: sa.ColumnElement[bool]) -> None:
    """Plan no resume at the end of these builds: somebody has stopped them, although another stop came first.

    The first cause is kept, so it does not say that. The end of a build may be confirmed hours later.
    """
    by_others = (builds.c.stop_cause.is_not(None), builds.c.stop_cause != StopCause.STOPPED.value)
    query = sa.select(builds.c.build_uuid, builds.c.record).where(*stopped, *by_others, builds.c.record.is_not(None))
    for build_uuid, record in tx.execute(query.with_for_update()).all():
        values = {"record": {name: value for name, value in record.items() if name != "auto_resume"}}
        tx.execute(builds.update().where(builds.c.build_uuid == build_uuid).values(values))


def _is_retryable(tx: Tx, build: Build) -> bool:
    """Whether the last failure that was reported is marked as retryable; of a build with platforms, that of each."""
    records = platform_records(tx, build).values()
    failed = [child.build_uuid for child in records if child.state is not State.SUCCEEDED] or [build.build_uuid]
    return all(_last_is_retryable(tx, build_uuid) for build_uuid in failed)


def _last_is_retryable(tx: Tx, build_uuid: str) -> bool:
    query = sa.select(failures.c.retryable).where(failures.c.build_uuid == build_uuid)
    return bool(tx.execute(query.order_by(failures.c.position.desc()).limit(1)).scalar())


def cancel_resumes(tx: Tx, build_uuids: Collection[str]) -> bool:
    """Do not resume these builds: somebody has, or does not want it, or it is impossible. False = none was planned."""
    return tx.execute(auto_resumes.delete().where(auto_resumes.c.build_uuid.in_(build_uuids))).rowcount > 0


def cancel_resumes_of_app(tx: Tx, app_id: str) -> None:
    """Do not resume any build of the app."""
    tx.execute(auto_resumes.delete().where(auto_resumes.c.app_id == app_id))


def waiting_resumes(tx: Tx, build_uuid: str | None = None) -> list[WaitingResume]:
    """The planned resumes of this process's apps; with `build_uuid` only that of this build."""
    columns = (auto_resumes.c.build_uuid, auto_resumes.c.app_id, apps.c.epoch, auto_resumes.c.due_steady_at)
    query = sa.select(*columns).join(apps, apps.c.app_id == auto_resumes.c.app_id)
    if build_uuid is not None:
        query = query.where(auto_resumes.c.build_uuid == build_uuid)
    if not tx.alone:
        query = query.where(apps.c.owner == tx.instance)
    return [WaitingResume(*row) for row in tx.execute(query)]


def planned_resume(tx: Tx, build: Build) -> PlannedResume | None:
    """When the build is going to be resumed by itself; None = it is not, or not any more."""
    wanted = (build.record or {}).get("auto_resume")
    if wanted is None or not build.state.final:
        return None
    query = sa.select(auto_resumes.c.due_steady_at).where(auto_resumes.c.build_uuid == build.build_uuid)
    due_at = tx.execute(query).scalar()
    return None if due_at is None else PlannedResume(due_at, wanted["attempts"])


def newer_build(tx: Tx, build: Build) -> str | None:
    """The id of a newer build of the app that has succeeded, or may succeed: a resume would undo what it brings."""
    newer = (builds.c.position > build.position, builds.c.state.not_in(_NOT_SUCCEEDED))
    query = sa.select(builds.c.build_id).where(builds.c.app_id == build.app_id, builds.c.api != Api.RECORD.value)
    found: str | None = tx.execute(query.where(*newer).order_by(builds.c.position.desc()).limit(1)).scalar()
    return found


def refused_resume(tx: Tx, new: NewBuild, recorded_now: Iterable[Build]) -> ConflictError | None:
    """Why an automatic resume is not recorded: its plan is gone, or the app has a newer build; None = nothing is.

    Reading the files that the failed build left may take minutes, in which anybody may cancel the resume. The plan is
    locked until the transaction ends, so that a stop of the failed build says truly whether it came in time.
    `recorded_now` are builds that the same transaction records earlier.
    """
    if not new.automatic or new.resume_from is None:
        return None
    query = sa.select(auto_resumes.c.build_uuid).where(auto_resumes.c.build_uuid == new.resume_from)
    build = find_build(tx, new.resume_from)
    if build is None or tx.execute(query.with_for_update()).first() is None:
        return ConflictError("The automatic resume was cancelled.")
    same_app = (other.build_id for other in recorded_now if other.app_id == new.app_id)
    newer = next(same_app, None) or newer_build(tx, build)
    return None if newer is None else ConflictError(f"Build {newer} of the app is newer.")
