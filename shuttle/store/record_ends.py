"""Completes the record of a build at its end: open states, failures and children. Finds records to be abandoned."""

from datetime import timedelta

import sqlalchemy as sa

from shuttle.build import Api, Build, Ending, State
from shuttle.store.tables import OPEN_RECORDS, TO_RUN, builds, failures, states
from shuttle.store.tx import Tx

_PARENT_ENDED = Ending(State.FAILED, "parent_ended", "The build of which this is a part has ended.")
_RUN_HERE = sa.select(builds.c.build_uuid).where(TO_RUN)


def settle_record(tx: Tx, build: Build, ending: Ending) -> None:
    """End the open states, and record the outcome of a build that this service runs.

    A stage whose end was not reported ends as the build does.
    """
    unended = (states.c.build_uuid == build.build_uuid, states.c.ended_at.is_(None))
    status = sa.case((states.c.stage.is_not(None), ending.state.value), else_=states.c.status)
    tx.execute(states.update().where(*unended).values(ended_at=tx.now.at, status=status))
    if build.api is not Api.RECORD:
        record_outcome(tx, build, ending)


def record_outcome(tx: Tx, build: Build, ending: Ending) -> None:
    """Record the state code 100 or the failure. Of a build that another CI system runs, that system reports them."""
    if ending.state is State.SUCCEEDED:
        tx.execute(builds.update().where(builds.c.build_uuid == build.build_uuid).values(state_code=100))
        return
    known = sa.select(sa.func.coalesce(sa.func.max(failures.c.position), 0))
    position = tx.execute(known.where(failures.c.build_uuid == build.build_uuid)).scalar_one() + 1
    row = {
        "build_uuid": build.build_uuid,
        "position": position,
        "state_code": build.state_code,
        "kind": ending.reason or ending.state.value,
        "message": ending.message or "The build failed.",
        "retryable": False,
        "created_at": tx.now.at,
    }
    tx.execute(failures.insert(), row)


def open_children(tx: Tx, build: Build) -> tuple[list[str], Ending]:
    """The uuids of the build's children that have not ended, and the ending that they get."""
    query = sa.select(builds.c.build_uuid).where(
        builds.c.parent_uuid == build.build_uuid, builds.c.finished_at.is_(None), builds.c.api == Api.RECORD.value
    )
    return list(tx.execute(query.order_by(builds.c.position)).scalars()), _PARENT_ENDED


def abandoned_records(tx: Tx, idle_seconds: float, limit: int) -> list[str]:
    """The uuids of records that nobody has called about for `idle_seconds`."""
    before = tx.now.steady - timedelta(seconds=idle_seconds)
    # A child of a build that this service runs is left out: it ends together with that build.
    whole = builds.c.parent_uuid.is_(None) | builds.c.parent_uuid.not_in(_RUN_HERE)
    query = sa.select(builds.c.build_uuid).where(OPEN_RECORDS, builds.c.called_steady_at <= before, whole)
    return list(tx.execute(query.order_by(builds.c.position + 0).limit(limit)).scalars())


def stopped_records(tx: Tx) -> list[str]:
    """The uuids of open records whose stop is recorded, of all apps: a record needs no owner to end."""
    query = sa.select(builds.c.build_uuid).where(OPEN_RECORDS, builds.c.stop_requested_at.is_not(None))
    return list(tx.execute(query.order_by(builds.c.position + 0)).scalars())
