"""Transitions between states: each is a conditional UPDATE, and in the same transaction its status event."""

from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from shuttle.build import (
    FINAL_STATUSES,
    STOP_ENDINGS,
    TRANSITIONS,
    Api,
    Build,
    Ending,
    FinalLog,
    SourceFacts,
    State,
    Status,
    StopCause,
)
from shuttle.endings import reason_line
from shuttle.store.auto_resumes import plan_resume, unwant_resumes
from shuttle.store.builds import find_build, lock_build
from shuttle.store.log_segments import forget_segments
from shuttle.store.outbox import emit_event
from shuttle.store.record_ends import open_children, settle_record
from shuttle.store.resume_calls import cancel_call
from shuttle.store.tables import TO_RUN, apps, builds
from shuttle.store.tx import Topic, Tx

# Each reason for waiting is added to the preamble once. The limit matters if Jenkins fails again and again for a day.
_MAX_PREAMBLE_BYTES = 16 * 1024


def _update(tx: Tx, build_uuid: str, *conditions: sa.ColumnElement[bool], **values: Any) -> bool:
    statement = builds.update().where(builds.c.build_uuid == build_uuid, *conditions).values(values)
    return tx.execute(statement).rowcount == 1


def _may_become(state: State) -> sa.ColumnElement[bool]:
    """The condition that the current state has a transition to `state`."""
    return builds.c.state.in_([origin.value for origin, targets in TRANSITIONS.items() if state in targets])


def begin_staging(tx: Tx, build_uuid: str) -> Build | None:
    """recorded → staging; None = the build is in another state. After a restart it may be staging already."""
    begun = {"state": State.STAGING.value, "staging_at": tx.now.at, "staging_steady_at": tx.now.steady}
    _update(tx, build_uuid, _may_become(State.STAGING), **begun)
    build = find_build(tx, build_uuid)
    return build if build is not None and build.state is State.STAGING else None


def become_staged(tx: Tx, build_uuid: str, facts: SourceFacts, line: str) -> Build | None:
    """Record the facts about the source; None = the build has ended meanwhile."""
    known = {
        "source_sha256": facts.sha256,
        "source_bytes": facts.bytes,
        "source_content_type": facts.content_type,
        "source_commit": facts.commit,
        "source_branch": facts.branch,
        "preamble": builds.c.preamble + line,
        "waiting_for": None,
        "staged_at": tx.now.at,
    }
    build = lock_build(tx, build_uuid)
    if build is None or build.state is not State.STAGING:
        return None
    if build.staged_at is None:  # otherwise it is recorded, but the response to the COMMIT was lost
        _update(tx, build_uuid, **known)
    return find_build(tx, build_uuid)


def record_waiting(tx: Tx, build_uuid: str, why: str | None, line: str | None = None) -> Build | None:
    """Record why the build waits. `line` is added to the preamble, once, unless the build was claimed already."""
    build = lock_build(tx, build_uuid)
    if build is None or build.state.final:
        return build
    values: dict[str, Any] = {"waiting_for": why}
    if line is not None and build.claimed_at is None and _fits(build.preamble, line):
        values["preamble"] = build.preamble + line
    _update(tx, build_uuid, **values)
    return find_build(tx, build_uuid)


def _fits(preamble: str, line: str) -> bool:
    return line not in preamble and len(preamble) + len(line) <= _MAX_PREAMBLE_BYTES


def grant_slots(tx: Tx, slots: int) -> list[str]:
    """Give free slots to staged builds that are the oldest of their app; the app served longest ago comes first.

    Returns the uuids of these builds.
    """
    tx.lock_slots()
    taken = sa.select(sa.func.count()).where(builds.c.slot_at.is_not(None), TO_RUN)
    free = slots - tx.execute(taken).scalar_one()
    if free <= 0:
        return []
    heads = (
        sa.select(sa.func.min(builds.c.position).label("position"))
        .where(TO_RUN)
        .group_by(builds.c.serial_key)
        .subquery()
    )
    query = (
        sa.select(builds.c.build_uuid, builds.c.app_id, apps.c.owner)
        .join(heads, heads.c.position == builds.c.position)
        .join(apps, apps.c.app_id == builds.c.app_id)
        .where(builds.c.slot_at.is_(None), builds.c.staged_at.is_not(None), builds.c.stop_requested_at.is_(None))
        .order_by(apps.c.last_slot_at.asc().nulls_first(), builds.c.position)
        .limit(free)
    )
    # The conditions are checked again: a stop or an end may have been recorded since the query.
    unstopped = (builds.c.stop_requested_at.is_(None), builds.c.finished_at.is_(None))
    granted = []
    for build_uuid, app_id, owner in tx.execute(query).all():
        if not _update(tx, build_uuid, *unstopped, slot_at=tx.now.at, waiting_for=None):
            continue
        if owner != tx.instance:
            tx.notify(Topic.WORKER, build_uuid)
        tx.execute(apps.update().where(apps.c.app_id == app_id).values(last_slot_at=tx.now.steady))
        granted.append(build_uuid)
    return granted


def reason_for_waiting(tx: Tx, build_uuid: str, slots: int) -> str | None:
    """What a staged build without a slot waits for, as text; None = it does not wait any more."""
    build = find_build(tx, build_uuid)
    if build is None or build.state.final or build.slot_at is not None:
        return None
    earlier = (
        sa.select(builds.c.build_id)
        .where(builds.c.serial_key == build.app_id, TO_RUN)
        .where(builds.c.position < build.position)
        .order_by(builds.c.position)
        .limit(1)
    )
    before = tx.execute(earlier).scalar()
    return f"build {before} of this app to end" if before is not None else f"one of {slots} build slots"


def attempt_trigger(tx: Tx, build_uuid: str) -> Build | None:
    """Record that Jenkins may have this build from now on; None = it was stopped or has ended, so do not trigger it."""
    unstopped = (builds.c.stop_requested_at.is_(None), builds.c.state == State.STAGING.value)
    if not _update(tx, build_uuid, *unstopped, trigger_attempted_at=tx.now.at, waiting_for=None):
        return None
    return find_build(tx, build_uuid)


def undo_trigger(tx: Tx, build_uuid: str) -> None:
    """Undo `attempt_trigger`: Jenkins queued nothing, or the job is deleted together with what it queued."""
    _update(tx, build_uuid, builds.c.state == State.STAGING.value, trigger_attempted_at=None)


def search_again(tx: Tx, build_uuid: str, number: int | None) -> Build | None:
    """queued → staging, before the job is deleted in which Jenkins lost the build `number` before its claim.

    Without a `number`, Jenkins removes the build's queue item together with the job. The attempt to trigger the build
    stays recorded until the job is deleted: after a crash Jenkins may still have the build, so its marker is searched.
    """
    unclaimed = (builds.c.claimed_at.is_(None), builds.c.build_number == number, builds.c.stop_cause.is_(None))
    values = {"state": State.STAGING.value, "queue_item": None, "build_number": None}
    _update(tx, build_uuid, builds.c.state == State.QUEUED.value, *unclaimed, **values)
    return find_build(tx, build_uuid)


def become_queued(tx: Tx, build_uuid: str, *, item: int | None = None, number: int | None = None) -> Build:
    """staging → queued: Jenkins has the build as a queue item, as a numbered build, or both."""
    _update(tx, build_uuid, _may_become(State.QUEUED), state=State.QUEUED.value, queued_at=tx.now.at, waiting_for=None)
    if item is not None:
        _update(tx, build_uuid, queue_item=item)
    if number is not None:
        _update(tx, build_uuid, builds.c.claimed_at.is_(None), build_number=number)
    build = find_build(tx, build_uuid)
    assert build is not None  # noqa: S101 - rows are never deleted while a build is under way
    return build


def start_running(tx: Tx, build: Build, number: int) -> bool:
    """staging or queued → running, for the first Jenkins build that claims it.

    False = it was never triggered, or is in another state.
    """
    if build.trigger_attempted_at is None:
        return False
    values = {
        "state": State.RUNNING.value,
        "build_number": number,
        "claimed_at": tx.now.at,
        "running_at": tx.now.at,
        "running_steady_at": tx.now.steady,
        "queued_at": build.queued_at or tx.now.at,
        "waiting_for": None,
    }
    if not _update(tx, build.build_uuid, _may_become(State.RUNNING), **values):
        return False
    running = find_build(tx, build.build_uuid)
    assert running is not None  # noqa: S101 - updated one line above
    emit_event(tx, running, status=Status.PENDING, building=True)
    return True


def request_stop(tx: Tx, build_uuid: str, cause: StopCause) -> Build | None:
    """Record a stop; the first cause is kept. None = the build is unknown or already final.

    A build that somebody stops is not resumed by itself, whatever the first cause was.

    A build that was never triggered ends in the same transaction, so that a crash cannot leave it without an end.
    """
    build = lock_build(tx, build_uuid)
    if build is None or build.state.final:
        return None
    tx.notify(Topic.BUILD, build_uuid)
    tx.notify(Topic.WORKER, build_uuid)
    if cause is StopCause.STOPPED and build.stop_cause is not None:
        unwant_resumes(tx, builds.c.build_uuid == build_uuid)
    _update(tx, build_uuid, builds.c.stop_cause.is_(None), stop_requested_at=tx.now.at, stop_cause=cause.value)
    build = find_build(tx, build_uuid)
    if build is not None and build.stop_cause is not None and build.trigger_attempted_at is None:
        ending = STOP_ENDINGS[build.stop_cause]
        return finish_build(tx, build_uuid, ending)
    return build


def finish_build(tx: Tx, build_uuid: str, ending: Ending, log: FinalLog | None = None) -> Build | None:
    """Change to a final state, with the log's checksum and the final event; None = unknown, or final already.

    Without `log`, the log has no bytes of an agent: it is the preamble and the line with the reason.
    """
    build = lock_build(tx, build_uuid)
    if build is None:
        return None
    if log is None:
        line = reason_line(ending)
        text = build.preamble.encode() + line
        log = FinalLog(len(text), sha256(text).hexdigest(), line.decode())
    values = {
        "state": ending.state.value,
        "reason": ending.reason,
        "message": ending.message,
        "waiting_for": None,
        "log_bytes": log.size_bytes,
        "log_sha256": log.sha256,
        "log_ending": log.ending,
        "finished_at": tx.now.at,
        "finished_steady_at": tx.now.steady,
    }
    if not _update(tx, build_uuid, _may_become(ending.state), **values):
        return None
    ended = find_build(tx, build_uuid)
    assert ended is not None  # noqa: S101 - updated one line above
    plan_resume(tx, ended)
    settle_record(tx, ended, ending)
    if build.api is Api.RECORD:
        cancel_call(tx, build_uuid)
    # A record has no task of its own, so the notice names it: the worker begins one, which archives the log.
    tx.notify(Topic.WORKER, build_uuid if build.api is Api.RECORD else "")
    emit_event(tx, ended, status=FINAL_STATUSES[ending.state], building=False)
    children, their_ending = open_children(tx, ended)
    for child in children:
        finish_build(tx, child, their_ending)
    return find_build(tx, build_uuid)


def mark_archived(tx: Tx, build_uuid: str) -> None:
    """Record that the log is in the object store."""
    _update(tx, build_uuid, archived_at=tx.now.at)
    tx.notify(Topic.DELETED_APPS)
    forget_segments(tx, build_uuid)


def correct_log(tx: Tx, build_uuid: str, log: FinalLog) -> None:
    """Replace the size and checksum of a log that has lost bytes permanently by those of the rest."""
    _update(tx, build_uuid, log_bytes=log.size_bytes, log_sha256=log.sha256)
