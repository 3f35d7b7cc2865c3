"""Which replica owns an app, and so runs its builds, writes their logs and sends them: taking and releasing apps."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from shuttle.delivery import DeliveryState
from shuttle.store.fence import Ownership
from shuttle.store.replicas import Replica
from shuttle.store.tables import TO_RUN, apps, auto_resumes, builds, deliveries, replicas, sinks
from shuttle.store.tx import Topic, Tx

# Nobody owns the app: it has no owner, or its owner was removed from the replicas.
_ORPHANED = sa.or_(apps.c.owner.is_(None), apps.c.owner.not_in(sa.select(replicas.c.instance)))


def _open_work() -> Sequence[sa.Select[tuple[str]]]:
    """The app of each unfinished or unarchived build, open sink, pending delivery, planned resume and deletion."""
    of_sinks = sa.select(builds.c.app_id).join(sinks, sinks.c.build_uuid == builds.c.build_uuid)
    return (
        sa.select(builds.c.app_id).where(TO_RUN),
        sa.select(builds.c.app_id).where(builds.c.finished_at.is_not(None), builds.c.archived_at.is_(None)),
        of_sinks.where(sinks.c.ended_at.is_(None)),
        # By their own column: with many pending ones, PostgreSQL would hash all receivers at each heartbeat.
        sa.select(deliveries.c.app_id).where(deliveries.c.state == DeliveryState.PENDING),
        sa.select(auto_resumes.c.app_id),
        sa.select(apps.c.app_id).where(apps.c.deleted_at.is_not(None)),
    )


_OPEN = sa.union_all(*_open_work()).subquery()
_ORPHANED_WORK = (
    sa.select(apps.c.app_id, sa.func.count().label("size"))
    .join(_OPEN, _OPEN.c.app_id == apps.c.app_id)
    .where(_ORPHANED)
    .group_by(apps.c.app_id)
    .order_by(apps.c.app_id)
)


def orphaned_apps(tx: Tx) -> Mapping[str, int]:
    """The apps with open work that nobody owns, with the amount of that work."""
    return {row.app_id: row.size for row in tx.execute(_ORPHANED_WORK)}


def take_apps(tx: Tx, app_ids: Sequence[str]) -> list[Ownership]:
    """Become the owner of the given apps that nobody owns, and that no other replica is taking right now.

    SQLite has no rows in `replicas`, so there nobody owns any app when the process starts.
    """
    mine = (apps.c.app_id.in_(app_ids), _ORPHANED)
    free = sa.select(apps.c.app_id, apps.c.epoch).where(*mine).order_by(apps.c.app_id)
    return _own(tx, tx.execute(free.with_for_update(skip_locked=True)).all())


def take_idle_apps(tx: Tx, app_ids: Sequence[str]) -> list[Ownership]:
    """Become the owner of the given apps that nobody owns, or that have no open work; waits for locks on their rows."""
    idle = sa.and_(*(apps.c.app_id.not_in(of_work.where(_named(of_work, app_ids))) for of_work in _open_work()))
    mine = (apps.c.app_id.in_(app_ids), sa.or_(_ORPHANED, idle))
    free = sa.select(apps.c.app_id, apps.c.epoch).where(*mine).order_by(apps.c.app_id)
    return _own(tx, tx.execute(free.with_for_update()).all())


def _named(query: sa.Select[tuple[str]], app_ids: Sequence[str]) -> sa.ColumnElement[bool]:
    return query.selected_columns[0].in_(app_ids)


def _own(tx: Tx, rows: Iterable[sa.Row[Any]]) -> list[Ownership]:
    owned = [Ownership(row.app_id, row.epoch + 1) for row in rows]
    if owned:
        mine = apps.c.app_id.in_([app_id for app_id, _ in owned])
        tx.execute(apps.update().where(mine).values(owner=tx.instance, epoch=apps.c.epoch + 1))
    return owned


def owned_apps(tx: Tx) -> dict[str, int]:
    """The apps that this process owns, with their epochs."""
    query = sa.select(apps.c.app_id, apps.c.epoch).where(apps.c.owner == tx.instance)
    return {row.app_id: row.epoch for row in tx.execute(query)}


def owner_of(tx: Tx, build_uuid: str) -> Replica | None:
    """The replica that owns the build's app; None = nobody, or there is no such build."""
    query = (
        sa.select(*(replicas.c[column] for column in Replica.__dataclass_fields__))
        .join(apps, apps.c.owner == replicas.c.instance)
        .join(builds, builds.c.app_id == apps.c.app_id)
        .where(builds.c.build_uuid == build_uuid)
    )
    row = tx.execute(query).first()
    return None if row is None else Replica(*row)


def _counts(tx: Tx, query: sa.Select[Any]) -> dict[str, int]:
    return {row[0]: row[1] for row in tx.execute(query)}


class OwnedWork(NamedTuple):
    """How many apps, and how many unfinished builds, each instance owns."""

    apps: Mapping[str, int]
    builds: Mapping[str, int]


def owned_work(tx: Tx) -> OwnedWork:
    """Count the apps and unfinished builds of each owner."""
    owned = sa.select(apps.c.owner, sa.func.count()).where(apps.c.owner.is_not(None)).group_by(apps.c.owner)
    unfinished = owned.join(builds, builds.c.app_id == apps.c.app_id).where(TO_RUN)
    return OwnedWork(_counts(tx, owned), _counts(tx, unfinished))


def release_apps(tx: Tx) -> None:
    """Leave all apps of this process to the other replicas."""
    tx.execute(apps.update().where(apps.c.owner == tx.instance).values(owner=None))
    tx.notify(Topic.RELEASED)


def leave_replicas(tx: Tx) -> None:
    """Release the apps of this process, which is being stopped, and remove it from the table of replicas."""
    release_apps(tx)
    tx.execute(replicas.delete().where(replicas.c.instance == tx.instance))
