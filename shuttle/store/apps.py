"""Apps: deleting them, which is done once nothing of theirs needs their job any more."""

import sqlalchemy as sa

from shuttle.build import Api, Build, StopCause
from shuttle.clock import Moment
from shuttle.store.tables import apps, builds
from shuttle.store.transitions import request_stop


def delete_app(connection: sa.Connection, app_id: str, now: Moment) -> list[Build]:
    """Mark it and stop its builds, which are given as they are then; an unknown app has none."""
    connection.execute(apps.update().where(apps.c.app_id == app_id).values(deleted_at=now.at))
    unfinished = (builds.c.app_id == app_id, builds.c.finished_at.is_(None))
    uuids = list(connection.execute(sa.select(builds.c.build_uuid).where(*unfinished)).scalars())
    stopped = (request_stop(connection, build_uuid, StopCause.STOPPED, now) for build_uuid in uuids)
    return [build for build in stopped if build is not None]


def is_open_to_legacy(connection: sa.Connection, app_id: str) -> bool:
    """It has a build of the older API, or none at all."""
    apis = set(connection.execute(sa.select(builds.c.api).distinct().where(builds.c.app_id == app_id)).scalars())
    return not apis or Api.LEGACY in apis


def deleted_apps(connection: sa.Connection) -> list[tuple[str, str]]:
    """(app id, job name) of those that are marked. One that was asked for a build since lives again."""
    newer = sa.exists().where(builds.c.app_id == apps.c.app_id, builds.c.accepted_at > apps.c.deleted_at)
    connection.execute(apps.update().where(apps.c.deleted_at.is_not(None), newer).values(deleted_at=None))
    query = sa.select(apps.c.app_id, apps.c.job_name).where(apps.c.deleted_at.is_not(None))
    return [(app_id, job_name) for app_id, job_name in connection.execute(query)]


def app_is_over(connection: sa.Connection, app_id: str) -> bool:
    """No build of it may still need what Jenkins has: all are final and their logs archived."""
    needing = sa.or_(builds.c.finished_at.is_(None), builds.c.archived_at.is_(None))
    query = sa.select(builds.c.build_uuid).where(builds.c.app_id == app_id, needing).limit(1)
    return connection.execute(query).first() is None


def app_deleted(connection: sa.Connection, app_id: str) -> None:
    """Its job is gone; its builds stay readable, and it can be built again."""
    connection.execute(apps.update().where(apps.c.app_id == app_id).values(deleted_at=None))
