"""Deletion of apps: an app is marked, and its Jenkins job is deleted when no build needs it any more."""

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from shuttle.build import Api, Build, StopCause
from shuttle.standing import Standing
from shuttle.store.auto_resumes import cancel_resumes_of_app, unwant_resumes
from shuttle.store.builds import reread
from shuttle.store.permitted import check_app, has_new_builds
from shuttle.store.tables import OPEN_RECORDS, TO_RUN, apps, builds
from shuttle.store.transitions import request_stop
from shuttle.store.tx import Topic, Tx


def mark_app_deleted(tx: Tx, app_id: str, standing: Standing) -> list[str]:
    """Mark the app as deleted, and its builds as stopped; returns the uuids of what `stop_builds` has to end.

    These are open records first, then the builds in the order of their positions; none for an unknown app. The records
    of a running build's platforms end together with that build. Planned automatic resumes of its builds are cancelled.
    For an anonymous caller only the older API's builds are stopped, no resume is cancelled, and the app is not marked
    if it has builds of the new API.

    Raises:
        TokenNeededError: see `permitted.check_app`.
    """
    check_app(tx, app_id, standing)
    unfinished = [builds.c.serial_key == app_id, TO_RUN]
    if standing is Standing.ANONYMOUS:
        unfinished.append(builds.c.api == Api.LEGACY.value)
    records = _whole_records(app_id) if standing is not Standing.ANONYMOUS else [sa.false()]
    # One statement for all: none begins because an earlier one ends, and none is forgotten if the process dies. The row
    # of the app comes later: transactions that assign slots lock rows in this order.
    stop = {"stop_requested_at": tx.now.at, "stop_cause": StopCause.STOPPED.value}
    unwant_resumes(tx, *unfinished)
    for which in (records, unfinished):
        tx.execute(builds.update().where(*which, builds.c.stop_cause.is_(None)).values(stop))
    if standing is not Standing.ANONYMOUS or not has_new_builds(tx, app_id):
        tx.execute(apps.update().where(apps.c.app_id == app_id).values(deleted_at=tx.now.at))
    tx.notify(Topic.DELETED_APPS)
    # Without `+ 0`, SQLite would read all builds in the order of their positions.
    to_end = sa.select(builds.c.build_uuid).order_by(builds.c.position + 0)
    if standing is not Standing.ANONYMOUS:
        cancel_resumes_of_app(tx, app_id)
    return [uuid for which in (records, unfinished) for uuid in tx.execute(to_end.where(*which)).scalars()]


def _whole_records(app_id: str) -> list[sa.ColumnElement[bool]]:
    """The open records of the app, except those of its running builds' platforms, whose branches still run."""
    running = sa.select(builds.c.build_uuid).where(builds.c.serial_key == app_id, TO_RUN)
    whole = builds.c.parent_uuid.is_(None) | builds.c.parent_uuid.not_in(running)
    return [OPEN_RECORDS, builds.c.app_id == app_id, whole]


def stop_builds(tx: Tx, build_uuids: Sequence[str]) -> list[Build]:
    """Record a stop for each of the builds that has not ended; returns these builds after the stop."""
    stopped = (request_stop(tx, build_uuid, StopCause.STOPPED) for build_uuid in build_uuids)
    return [build for build in stopped if build is not None]


class DeletedApp(NamedTuple):
    """A deleted app whose job is still on this controller."""

    app_id: str
    job_name: str
    controller: str


# Triggered builds that are on the controller of their app.
_ON_THAT_OF_APP = (builds.c.controller.is_(None), builds.c.trigger_attempted_at.is_not(None))


def keep_controller(tx: Tx, build: Build, *, first: str, limit: int) -> str | None:
    """Record in triggered builds of the app, up to `limit`, the controller of the app: they will not move with it.

    `first` is the build id with which to begin. Returns that of the next call; None = all builds have been read, or the
    app has moved.
    """
    query = sa.select(apps.c.app_id).where(apps.c.app_id == build.app_id, apps.c.controller == build.controller)
    if tx.execute(query.with_for_update(key_share=True)).first() is None:
        return None
    found = (
        sa.select(builds.c.position, builds.c.build_id)
        .where(builds.c.app_id == build.app_id, builds.c.build_id >= first, *_ON_THAT_OF_APP)
        .order_by(builds.c.build_id)
        .limit(limit)
    )
    rows = tx.execute(found).all()
    chosen = builds.c.position.in_([row.position for row in rows])
    tx.execute(builds.update().where(chosen).values(controller=build.controller))
    return rows[-1].build_id if len(rows) == limit else None


def assign_controller(tx: Tx, build: Build, controller: str) -> Build:
    """Move the build's app to `controller`, unless the app has got another controller since `build` was read.

    Builds of the app that were triggered before keep the controller on which they were triggered. `keep_controller` has
    recorded it in those that have ended; here it would take seconds for an app with 50,000 builds.
    """
    unmoved = (apps.c.app_id == build.app_id, apps.c.controller == build.controller)
    if tx.execute(apps.update().where(*unmoved).values(controller=controller)).rowcount:
        to_run = (builds.c.serial_key == build.app_id, TO_RUN, *_ON_THAT_OF_APP)
        tx.execute(builds.update().where(*to_run).values(controller=build.controller))
    return reread(tx, build)


def deleted_apps(tx: Tx) -> list[DeletedApp]:
    """The marked apps of this process."""
    marked: list[sa.ColumnElement[bool]] = [apps.c.deleted_at.is_not(None)]
    if not tx.alone:
        marked.append(apps.c.owner == tx.instance)
    query = sa.select(apps.c.app_id, apps.c.job_name, apps.c.controller).where(*marked)
    return [DeletedApp(*row) for row in tx.execute(query)]


def app_is_finished(tx: Tx, app_id: str) -> bool:
    """Whether all builds of the app are final and their logs archived, so that none needs the Jenkins job."""
    # Two queries, each with an index of its own. `serial_key` is the app's id.
    unfinished = sa.select(builds.c.position).where(builds.c.serial_key == app_id, TO_RUN)
    if tx.execute(unfinished.limit(1)).first() is not None:
        return False
    # `+ ""` and the order make SQLite read the index of unarchived builds, not a larger one of all ended builds.
    unarchived = (builds.c.finished_at.is_not(None), builds.c.archived_at.is_(None), (builds.c.app_id + "") == app_id)
    query = sa.select(builds.c.position).where(*unarchived).order_by(builds.c.position).limit(1)
    return tx.execute(query).first() is None


def unmark_deleted_app(tx: Tx, app_id: str) -> None:
    """Remove the mark after the job was deleted. The app's builds remain, and it can be built again."""
    # The time of the mark, not of the deletion: a build that was accepted in between may have made a new job, and
    # `idle_apps` has to find that one.
    changed = {"deleted_at": None, "job_deleted_at": apps.c.deleted_at}
    tx.execute(apps.update().where(apps.c.app_id == app_id).values(changed))
