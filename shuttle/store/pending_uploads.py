"""Pending uploads: sources that are written to the object store before their builds are recorded.

The row of an upload is its lock in all processes. The SHA-256 of the source names the holder, so an equal request does
not wait: both write the same bytes. A request with another source for the same uuid waits.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum, auto

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shuttle.build import Build
from shuttle.store.tables import builds, early_sources
from shuttle.store.tx import Topic, Tx

# Longer than an upload and the recording of its build may take together.
HELD_SECONDS = 90.0


class Hold(Enum):
    """The result of `hold_upload`."""

    HELD = auto()
    WAIT = auto()  # another source is being uploaded or deleted under this uuid
    TAKEN = auto()  # another build has the uuid


# The holder of an upload while its object is deleted, in place of a SHA-256.
_DELETING = "deleting"


def uploads_under_way(
    build_uuids: Sequence[sa.BindParameter[str]], held_since: sa.BindParameter[datetime]
) -> sa.Select[tuple[str]]:
    """Selects those of the uuids under which a source is being stored or deleted; see `held_since_of`."""
    under_way = early_sources.c.announced_at >= held_since
    return sa.select(early_sources.c.build_uuid).where(early_sources.c.build_uuid.in_(build_uuids), under_way)


def held_since_of(tx: Tx) -> datetime:
    """The instant since which an upload must be registered to count as held: an older one took too long."""
    return tx.now.steady - timedelta(seconds=HELD_SECONDS)


def hold_upload(
    tx: Tx, build_uuid: str, source_sha256: str, find_recorded: Callable[[Tx], Build | None], *, new_object: bool
) -> Hold | Build:
    """Become the holder of the upload. If `find_recorded` finds a build, that is returned instead.

    `new_object` is false if there was an object under this uuid before the upload. Then the object is kept even if no
    build is recorded, because the old shuttle may have stored it. The flag is recorded when the upload is registered,
    and does not change with the holder.
    """
    row = {"holder": source_sha256, "announced_at": tx.now.steady}
    statement = insert(early_sources).values(build_uuid=build_uuid, new_object=new_object, **row)
    free = sa.or_(early_sources.c.holder == source_sha256, early_sources.c.announced_at < held_since_of(tx))
    statement = statement.on_conflict_do_update(index_elements=["build_uuid"], set_=row, where=free)
    held = tx.execute(statement.returning(early_sources.c.holder)).one_or_none() is not None
    # After the lock: the build may have been recorded by the transaction that released it.
    result = find_recorded(tx) or (Hold.TAKEN if _is_recorded(tx, build_uuid) else Hold.HELD)
    if result is Hold.HELD:
        return result if held else Hold.WAIT
    if held:
        release_upload(tx, build_uuid, source_sha256)
    return result


def held_uploads(tx: Tx, source_sha256s: Mapping[str, str]) -> set[str]:
    """Those of the uuids whose uploads are still held for these sources. They are locked until the transaction ends."""
    rows = sa.select(early_sources.c.build_uuid, early_sources.c.holder)
    rows = rows.where(early_sources.c.build_uuid.in_(source_sha256s)).order_by(early_sources.c.build_uuid)
    return {uuid for uuid, holder in tx.execute(rows.with_for_update()) if source_sha256s[uuid] == holder}


def forget_uploads(tx: Tx, build_uuids: Sequence[str]) -> None:
    """Remove the registrations of held uploads, after their builds were recorded."""
    tx.execute(early_sources.delete().where(early_sources.c.build_uuid.in_(build_uuids)))
    for build_uuid in build_uuids:
        tx.notify(Topic.BUILD, build_uuid)


def release_upload(tx: Tx, build_uuid: str, holder: str) -> None:
    """Remove the registration of an upload whose object is kept or was deleted."""
    held = sa.and_(early_sources.c.build_uuid == build_uuid, early_sources.c.holder == holder)
    if tx.execute(early_sources.delete().where(held)).rowcount:
        tx.notify(Topic.BUILD, build_uuid)


def begin_deletion(tx: Tx, build_uuid: str, holder: str) -> bool:
    """Hold the upload while its object is deleted; False = the object must be kept.

    It is kept if `holder` no longer holds the upload. It is also kept if a build was recorded under this uuid, or if
    there was an object before the upload; then the registration is removed.
    """
    upload = early_sources.c.build_uuid == build_uuid
    row = tx.execute(sa.select(early_sources).where(upload).with_for_update()).one_or_none()
    if row is None or row.holder != holder:
        return False
    if _is_recorded(tx, build_uuid) or not row.new_object:
        release_upload(tx, build_uuid, holder)
        return False
    tx.execute(early_sources.update().where(upload).values(holder=_DELETING, announced_at=tx.now.steady))
    return True


def _is_recorded(tx: Tx, build_uuid: str) -> bool:
    return tx.execute(sa.select(sa.true()).where(builds.c.build_uuid == build_uuid)).one_or_none() is not None


def end_deletion(tx: Tx, build_uuid: str) -> None:
    """Remove the registration after the object was deleted."""
    release_upload(tx, build_uuid, _DELETING)


def orphaned_uploads(tx: Tx, before: datetime, limit: int) -> list[tuple[str, str]]:
    """Uuid and holder of uploads that were registered earlier than `before`; no build was recorded with them."""
    columns = (early_sources.c.build_uuid, early_sources.c.holder)
    query = sa.select(*columns).where(early_sources.c.announced_at < before).order_by(early_sources.c.announced_at)
    return [(build_uuid, holder) for build_uuid, holder in tx.execute(query.limit(limit))]
