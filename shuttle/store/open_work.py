"""The open work of this process's apps: builds to run or to archive, stops, logs to send and planned resumes."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from shuttle.build import Build
from shuttle.store.auto_resumes import WaitingResume, waiting_resumes
from shuttle.store.builds import BUILD_ROWS, build_from
from shuttle.store.ledger import builds_with_open_sinks
from shuttle.store.record_ends import stopped_records
from shuttle.store.tables import TO_RUN, apps, builds
from shuttle.store.tx import Tx

_UNARCHIVED = sa.and_(builds.c.finished_at.is_not(None), builds.c.archived_at.is_(None))
# Databases limit the number of a statement's parameters.
_AT_ONCE = 1000


class OwnedBuild(NamedTuple):
    """A build of this process, and the epoch of its app."""

    build: Build
    epoch: int


class OpenWork(NamedTuple):
    """The open work; `builds` has those that the process does not know yet.

    The others have uuids: `no_longer_waiting` see the function, `stopping` of the builds whose stop is recorded,
    `with_open_sinks` of those whose log has to be sent, `stopped_records` of open records whose stop is recorded.
    """

    builds: Sequence[OwnedBuild]
    no_longer_waiting: Collection[str]
    stopping: Collection[str]
    with_open_sinks: Collection[str]
    stopped_records: Collection[str]
    resumes: Sequence[WaitingResume]


def open_work(tx: Tx, running: Collection[str] = (), waiting: Collection[str] = ()) -> OpenWork:
    """All open work of this process's apps, in one transaction: replicas without work look for some every few seconds.

    `running` and `waiting` are the uuids of the builds that the process knows; `waiting` wait for staging or a slot.
    """
    return OpenWork(
        builds=open_builds(tx, {*running, *waiting}),
        no_longer_waiting=no_longer_waiting(tx, waiting),
        stopping=_stopping(tx),
        with_open_sinks=builds_with_open_sinks(tx),
        stopped_records=stopped_records(tx),
        resumes=waiting_resumes(tx),
    )


def open_builds(tx: Tx, known: Collection[str] = ()) -> list[OwnedBuild]:
    """This process's builds, except `known`: those to run, then those to archive, each in the order of acceptance."""
    found = list[OwnedBuild]()
    # Without `+ 0`, SQLite would read all builds in the order of their positions. The index of unarchived builds has
    # that order.
    for state, order in ((TO_RUN, builds.c.position + 0), (_UNARCHIVED, builds.c.position)):
        new = [uuid for uuid in tx.execute(_uuids(tx, state).order_by(order)).scalars() if uuid not in known]
        for first in range(0, len(new), _AT_ONCE):
            wanted_now = builds.c.build_uuid.in_(new[first : first + _AT_ONCE])
            query = BUILD_ROWS.add_columns(apps.c.epoch).where(wanted_now).order_by(builds.c.position)
            found += [OwnedBuild(build_from(row), row.epoch) for row in tx.execute(query)]
    return found


def no_longer_waiting(tx: Tx, build_uuids: Collection[str]) -> set[str]:
    """Those of the builds that have got a slot or have ended, or whose app this process has lost."""
    if not build_uuids:
        return set()
    return {*build_uuids} - set(tx.execute(_uuids(tx, TO_RUN, builds.c.slot_at.is_(None))).scalars())


def _stopping(tx: Tx) -> set[str]:
    return set(tx.execute(_uuids(tx, TO_RUN, builds.c.stop_requested_at.is_not(None))).scalars())


def find_open(tx: Tx, build_uuid: str) -> OwnedBuild | None:
    """The build if it has to be run or archived, and this process owns its app."""
    mine = (builds.c.build_uuid == build_uuid, sa.or_(TO_RUN, _UNARCHIVED), *_mine(tx))
    row = tx.execute(BUILD_ROWS.add_columns(apps.c.epoch).where(*mine)).first()
    return None if row is None else OwnedBuild(build_from(row), row.epoch)


def _uuids(tx: Tx, *conditions: sa.ColumnElement[bool]) -> sa.Select[tuple[str]]:
    query = sa.select(builds.c.build_uuid).join(apps, apps.c.app_id == builds.c.app_id)
    return query.where(*conditions, *_mine(tx))


def _mine(tx: Tx) -> Sequence[sa.ColumnElement[bool]]:
    """The condition that this process owns the build's app."""
    return () if tx.alone else (apps.c.owner == tx.instance,)
