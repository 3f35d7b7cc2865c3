"""Apps: deleting them, which is done once nothing of theirs needs their job any more."""

import sqlalchemy as sa

from shuttle.build import Api, Build, StopCause
from shuttle.standing import Standing
from shuttle.store.permitted import check_app, has_builds_of
from shuttle.store.tables import apps, builds
from shuttle.store.transitions import request_stop
from shuttle.store.tx import Topic, Tx


def mark_app_deleted(tx: Tx, app_id: str, standing: Standing) -> list[Build]:
    """Mark it and stop its builds, which are given as they are then; an unknown app has none.

    For an anonymous caller those of the older API alone; the job stays if builds of the new API are in it.

    Raises:
        TokenNeededError: see `permitted.check_app`.
    """
    check_app(tx, app_id, standing)
    unfinished = [builds.c.app_id == app_id, builds.c.finished_at.is_(None)]
    if standing is Standing.ANONYMOUS:
        unfinished.append(builds.c.api == Api.LEGACY.value)
    if standing is not Standing.ANONYMOUS or not has_builds_of(tx, app_id, Api.NEW):
        tx.execute(apps.update().where(apps.c.app_id == app_id).values(deleted_at=tx.now.at))
    tx.notify(Topic.DELETED_APPS)
    uuids = list(tx.execute(sa.select(builds.c.build_uuid).where(*unfinished)).scalars())
    stopped = (request_stop(tx, build_uuid, StopCause.STOPPED) for build_uuid in uuids)
    return [build for build in stopped if build is not None]


def deleted_apps(tx: Tx) -> list[tuple[str, str]]:
    """(app id, job name) of those that are marked. One that was asked for a build since lives again."""
    newer = sa.exists().where(builds.c.app_id == apps.c.app_id, builds.c.accepted_at > apps.c.deleted_at)
    tx.execute(apps.update().where(apps.c.deleted_at.is_not(None), newer).values(deleted_at=None))
    query = sa.select(apps.c.app_id, apps.c.job_name).where(apps.c.deleted_at.is_not(None))
    return [(app_id, job_name) for app_id, job_name in tx.execute(query)]


def app_is_over(tx: Tx, app_id: str) -> bool:
    """No build of it may still need what Jenkins has: all are final and their logs archived."""
    needing = sa.or_(builds.c.finished_at.is_(None), builds.c.archived_at.is_(None))
    query = sa.select(builds.c.build_uuid).where(builds.c.app_id == app_id, needing).limit(1)
    return tx.execute(query).first() is None


def unmark_deleted_app(tx: Tx, app_id: str) -> None:
    """Its job is gone; its builds stay readable, and it can be built again."""
    tx.execute(apps.update().where(apps.c.app_id == app_id).values(deleted_at=None))
