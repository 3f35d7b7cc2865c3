"""The ways between states: each one conditional UPDATE, with the status event it causes in the same transaction."""

from datetime import datetime
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from shuttle.build import (
    FINAL_WORDS,
    STOP_ENDINGS,
    TRANSITIONS,
    Build,
    Ending,
    FinalLog,
    SourceFacts,
    State,
    StopCause,
)
from shuttle.clock import Moment
from shuttle.endings import reason_line
from shuttle.store import log_segments
from shuttle.store.builds import by_uuid
from shuttle.store.outbox import emit
from shuttle.store.tables import apps, builds

# Reasons for waiting are remembered once each; a Jenkins that comes and goes all day must not grow the preamble.
_LONGEST_PREAMBLE_BYTES = 16 * 1024


def _update(connection: sa.Connection, build_uuid: str, *conditions: sa.ColumnElement[bool], **values: Any) -> bool:
    statement = builds.update().where(builds.c.build_uuid == build_uuid, *conditions).values(values)
    return connection.execute(statement).rowcount == 1


def _may_become(state: State) -> sa.ColumnElement[bool]:
    """Only from a state that has a way to `state`."""
    return builds.c.state.in_([origin.value for origin, ways in TRANSITIONS.items() if state in ways])


def begin_staging(connection: sa.Connection, build_uuid: str, now: Moment) -> Build | None:
    """recorded → staging; None = it is no longer recorded (nor staging after a restart)."""
    begun = {"state": State.STAGING.value, "staging_at": now.at, "staging_steady_at": now.steady}
    _update(connection, build_uuid, _may_become(State.STAGING), **begun)
    build = by_uuid(connection, build_uuid)
    return build if build is not None and build.state is State.STAGING else None


def staged(connection: sa.Connection, build_uuid: str, facts: SourceFacts, line: str, now: datetime) -> Build | None:
    """Remember what the source is; None = the build ended meanwhile."""
    known = {
        "source_sha256": facts.sha256,
        "source_bytes": facts.bytes,
        "source_content_type": facts.content_type,
        "preamble": builds.c.preamble + line,
        "waiting_for": None,
        "staged_at": now,
    }
    if not _update(connection, build_uuid, builds.c.state == State.STAGING.value, **known):
        return None
    return by_uuid(connection, build_uuid)


def waits_for(connection: sa.Connection, build_uuid: str, why: str | None, line: str | None) -> Build | None:
    """Show why the build waits; `line` also says so in the preamble, once, while no agent writes the log."""
    build = by_uuid(connection, build_uuid)
    if build is None or build.state.final:
        return build
    values: dict[str, Any] = {"waiting_for": why}
    if line is not None and build.claimed_at is None and _fits(build.preamble, line):
        values["preamble"] = build.preamble + line
    _update(connection, build_uuid, **values)
    return by_uuid(connection, build_uuid)


def _fits(preamble: str, line: str) -> bool:
    return line not in preamble and len(preamble) + len(line) <= _LONGEST_PREAMBLE_BYTES


def grant_slots(connection: sa.Connection, *, slots: int, now: Moment) -> list[str]:
    """Give free slots to staged builds that are the oldest of their app, the app served longest ago first."""
    taken = sa.select(sa.func.count()).where(builds.c.slot_at.is_not(None), builds.c.finished_at.is_(None))
    free = slots - connection.execute(taken).scalar_one()
    if free <= 0:
        return []
    heads = (
        sa.select(sa.func.min(builds.c.position).label("position"))
        .where(builds.c.finished_at.is_(None))
        .group_by(builds.c.serial_key)
        .subquery()
    )
    query = (
        sa.select(builds.c.build_uuid, builds.c.app_id)
        .join(heads, heads.c.position == builds.c.position)
        .join(apps, apps.c.app_id == builds.c.app_id)
        .where(builds.c.slot_at.is_(None), builds.c.staged_at.is_not(None), builds.c.stop_requested_at.is_(None))
        .order_by(apps.c.last_slot_at.asc().nulls_first(), builds.c.position)
        .limit(free)
    )
    granted = connection.execute(query).all()
    for build_uuid, app_id in granted:
        _update(connection, build_uuid, slot_at=now.at, waiting_for=None)
        connection.execute(apps.update().where(apps.c.app_id == app_id).values(last_slot_at=now.steady))
    return [build_uuid for build_uuid, _ in granted]


def why_parked(connection: sa.Connection, build_uuid: str, slots: int) -> str | None:
    """What a staged build without a slot waits for, in words; None = it has one by now."""
    build = by_uuid(connection, build_uuid)
    if build is None or build.state.final or build.slot_at is not None:
        return None
    earlier = (
        sa.select(builds.c.build_id)
        .where(builds.c.serial_key == build.app_id, builds.c.finished_at.is_(None))
        .where(builds.c.position < build.position)
        .order_by(builds.c.position)
        .limit(1)
    )
    before = connection.execute(earlier).scalar()
    return f"build {before} of this app to end" if before is not None else f"one of {slots} build slots"


def attempt_trigger(connection: sa.Connection, build_uuid: str, now: datetime) -> Build | None:
    """Commit that Jenkins may have this build from now on; None = a stop or an end came first: do not trigger."""
    open_for_it = (builds.c.stop_requested_at.is_(None), builds.c.state == State.STAGING.value)
    if not _update(connection, build_uuid, *open_for_it, trigger_attempted_at=now, waiting_for=None):
        return None
    return by_uuid(connection, build_uuid)


def take_back_trigger(connection: sa.Connection, build_uuid: str) -> None:
    """Jenkins certainly has nothing of the attempt."""
    _update(connection, build_uuid, builds.c.state == State.STAGING.value, trigger_attempted_at=None)


def trigger_again(connection: sa.Connection, build_uuid: str, number: int) -> Build | None:
    """queued → staging: Jenkins lost its build `number` before anybody claimed it."""
    unclaimed = (builds.c.claimed_at.is_(None), builds.c.build_number == number, builds.c.stop_cause.is_(None))
    values = {"state": State.STAGING.value, "trigger_attempted_at": None, "queue_item": None, "build_number": None}
    _update(connection, build_uuid, builds.c.state == State.QUEUED.value, *unclaimed, **values)
    return by_uuid(connection, build_uuid)


def queued(connection: sa.Connection, build_uuid: str, item: int | None, number: int | None, now: datetime) -> Build:
    """staging → queued: Jenkins has it, as a queue item, as a numbered build, or both."""
    _update(
        connection, build_uuid, _may_become(State.QUEUED), state=State.QUEUED.value, queued_at=now, waiting_for=None
    )
    if item is not None:
        _update(connection, build_uuid, queue_item=item)
    if number is not None:
        _update(connection, build_uuid, builds.c.claimed_at.is_(None), build_number=number)
    build = by_uuid(connection, build_uuid)
    assert build is not None  # noqa: S101 - rows are never deleted while a build is under way
    return build


def start_running(connection: sa.Connection, build: Build, number: int, now: Moment) -> bool:
    """→ running, for the first Jenkins build that claims it; False = nothing was ever handed to Jenkins."""
    if build.trigger_attempted_at is None:
        return False
    values = {
        "state": State.RUNNING.value,
        "build_number": number,
        "claimed_at": now.at,
        "running_at": now.at,
        "running_steady_at": now.steady,
        "queued_at": build.queued_at or now.at,
        "waiting_for": None,
    }
    if not _update(connection, build.build_uuid, _may_become(State.RUNNING), **values):
        return False
    running = by_uuid(connection, build.build_uuid)
    assert running is not None  # noqa: S101 - updated one line above
    emit(connection, running, status="pending", building=True, now=now)
    return True


def request_stop(connection: sa.Connection, build_uuid: str, cause: StopCause, now: Moment) -> Build | None:
    """Record why the build shall stop; the first cause stays. None = unknown or already final.

    A build that Jenkins cannot have ends in the same transaction: no crash can leave it stopped and without an end.
    """
    build = by_uuid(connection, build_uuid)
    if build is None or build.state.final:
        return None
    _update(connection, build_uuid, builds.c.stop_cause.is_(None), stop_requested_at=now.at, stop_cause=cause.value)
    build = by_uuid(connection, build_uuid)
    if build is not None and build.stop_cause is not None and build.trigger_attempted_at is None:
        ending = STOP_ENDINGS[build.stop_cause]
        return finish(connection, build_uuid, ending, log=None, now=now)
    return build


def finish(
    connection: sa.Connection,
    build_uuid: str,
    ending: Ending,
    *,
    log: FinalLog | None,
    now: Moment,
) -> Build | None:
    """→ a final state, with the log's sum and the final status; None = the build was final already.

    Without `log` the log is what the row says: nothing of an agent is in it.
    """
    build = by_uuid(connection, build_uuid)
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
        "finished_at": now.at,
        "finished_steady_at": now.steady,
    }
    if not _update(connection, build_uuid, _may_become(ending.state), **values):
        return None
    ended = by_uuid(connection, build_uuid)
    assert ended is not None  # noqa: S101 - updated one line above
    emit(connection, ended, status=FINAL_WORDS[ending.state], building=False, now=now)
    return by_uuid(connection, build_uuid)


def archived(connection: sa.Connection, build_uuid: str, now: datetime) -> None:
    """The log rests in the object store."""
    _update(connection, build_uuid, archived_at=now)
    log_segments.forget(connection, build_uuid)


def correct_log(connection: sa.Connection, build_uuid: str, log: FinalLog) -> None:
    """The log's bytes are lost for good: say of what is left what it is."""
    _update(connection, build_uuid, log_bytes=log.size_bytes, log_sha256=log.sha256)
