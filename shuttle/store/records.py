"""Creates and finds records: builds that another CI system runs, and whose progress it reports to this service."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shuttle.build import Api, Build, State, Status, project_id_of
from shuttle.errors import ConflictError, NotFoundError
from shuttle.store.build_numbers import free_number
from shuttle.store.builds import find_build, find_builds, lock_build, reread
from shuttle.store.new_build import NewEndpoint
from shuttle.store.outbox import emit_event
from shuttle.store.prepared import Prepared
from shuttle.store.resume_calls import cancel_call
from shuttle.store.tables import apps, builds, receivers
from shuttle.store.tx import Topic, Tx

# The name of the app of records whose creator names none.
DEFAULT_PROJECT = "default"
# The end of a build ends its parts in the same transaction, which must not take longer than 2.5 s.
MAX_CHILDREN = 100
_CHILDREN = Prepared(
    sa.select(builds.c.build_uuid).where(builds.c.parent_uuid == sa.bindparam("uuid")).order_by(builds.c.position)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRecord:
    """A checked request for a record.

    `build_id` None = the app's next number. `fields` are those of the request that are recorded, without the labels.
    `pending` = the build has not begun: it resumes another one, and its CI system still has to start it.
    """

    build_uuid: str
    app_id: str
    build_id: str | None
    job_name: str
    request_fingerprint: str
    same_request: Callable[[str], bool] = field(repr=False)
    labels: Mapping[str, str]
    fields: Mapping[str, Any]
    metadata_json: str = "null"
    state_code: int = 0
    parent_uuid: str | None = None
    resume_from: str | None = None
    pending: bool = False
    receivers: Sequence[NewEndpoint] = ()


def create_record(tx: Tx, new: NewRecord) -> tuple[Build, bool]:
    """Record the build; returns it and whether it is new: an equal request returns the recorded one.

    Raises:
        ConflictError: a build with these ids was requested differently, or the build of which this is a part has ended.
    """
    _lock_parent(tx, new)
    number = _lock_app(tx, new)
    build_id = new.build_id
    if build_id is None:
        build_id = _next_number(tx, new.app_id, number)
    else:
        recorded = _recorded(tx, new, build_id)
        if recorded is not None:
            return recorded, False
    _check_parent(tx, new)
    tx.execute(builds.insert(), _row(tx, new, build_id))
    for place, endpoint in enumerate(new.receivers):
        tx.execute(receivers.insert(), _receiver_row(new, place, endpoint))
    build = find_build(tx, new.build_uuid)
    assert build is not None  # noqa: S101 - inserted above
    emit_event(tx, build, status=Status.QUEUED if new.pending else Status.PENDING, building=not new.pending)
    # If nobody owns the app, a replica has to take it: only an owner sends statuses.
    tx.notify(Topic.RELEASED)
    return reread(tx, build), True


def _lock_app(tx: Tx, new: NewRecord) -> int:
    """Lock the app's row, which is made if there is none; returns its next number."""
    lock = sa.select(apps.c.next_number).where(apps.c.app_id == new.app_id).with_for_update(key_share=True)
    number: int | None = tx.execute(lock).scalar()
    if number is None:
        row = {"app_id": new.app_id, "api": Api.NEW.value, "job_name": new.job_name, "created_at": tx.now.at}
        row["project_id"] = project_id_of(new.app_id)
        tx.execute(insert(apps).on_conflict_do_nothing(index_elements=["app_id"]), row)
        number = tx.execute(lock).scalar_one()
    return number


def _lock_parent(tx: Tx, new: NewRecord) -> None:
    """Lock the parent, because its end also ends its parts. It is locked before the app, as in all transactions."""
    if new.parent_uuid is not None and not new.pending:
        lock_build(tx, new.parent_uuid)


def _check_parent(tx: Tx, new: NewRecord) -> None:
    """Raises ConflictError if the parent, which is locked, has ended or has too many parts.

    A record that resumes a part (`pending`) may belong to a build that has ended.
    """
    if new.parent_uuid is not None and not new.pending:
        parent = find_build(tx, new.parent_uuid)
        if parent is None or parent.state.final:
            raise ConflictError("The build of which this would be a part has ended.")
        children = sa.select(sa.func.count()).where(builds.c.parent_uuid == new.parent_uuid)
        if tx.execute(children).scalar_one() >= MAX_CHILDREN:
            raise ConflictError(f"A build may have at most {MAX_CHILDREN} parts; record further builds on their own.")


def _next_number(tx: Tx, app_id: str, number: int) -> str:
    number = free_number(tx, app_id, number)
    tx.execute(apps.update().where(apps.c.app_id == app_id).values(next_number=number + 1))
    return str(number)


def _recorded(tx: Tx, new: NewRecord, build_id: str) -> Build | None:
    found = find_builds(tx, new.app_id, build_id)
    if not found:
        return None
    if found[0].api is Api.RECORD:
        query = sa.select(builds.c.request_fingerprint).where(builds.c.build_uuid == found[0].build_uuid)
        if new.same_request(tx.execute(query).scalar_one()):
            return found[0]
    raise ConflictError(f"Build {build_id} of {new.app_id} exists with another request; use another build number.")


def _row(tx: Tx, new: NewRecord, build_id: str) -> dict[str, Any]:
    begun = {} if new.pending else {"running_at": tx.now.at, "running_steady_at": tx.now.steady}
    return begun | {
        "build_uuid": new.build_uuid,
        "app_id": new.app_id,
        "build_id": build_id,
        "api": Api.RECORD.value,
        "plan": b"",
        "request_fingerprint": new.request_fingerprint,
        "metadata_json": new.metadata_json,
        "labels": dict(new.labels),
        "pipeline": Api.RECORD.value,
        "serial_key": new.app_id,
        "destinations": [],
        "source_url": "",
        "state": (State.RECORDED if new.pending else State.RUNNING).value,
        "accepted_at": tx.now.at,
        "deadline_at": tx.now.steady,
        "timeout_seconds": 0,
        "state_code": new.state_code,
        "record": dict(new.fields),
        "called_steady_at": tx.now.steady,
        "parent_uuid": new.parent_uuid,
        "resume_from": new.resume_from,
    }


def _receiver_row(new: NewRecord, place: int, endpoint: NewEndpoint) -> dict[str, Any]:
    row = {"build_uuid": new.build_uuid, "place": place, "kind": endpoint.kind, "host": endpoint.host}
    return row | {"target": endpoint.target, "wire": endpoint.payload_format, "state": "live"}


def known_build(tx: Tx, build_uuid: str) -> Build:
    """The build; raises NotFoundError if there is none."""
    build = find_build(tx, build_uuid)
    if build is None:
        raise NotFoundError("Build not found")
    return build


def children_of(tx: Tx, build_uuid: str) -> list[Build]:
    """The build's children, the oldest first."""
    found = (find_build(tx, child) for (child,) in _CHILDREN.fetch(tx, {"uuid": build_uuid}))
    return [child for child in found if child is not None]


def successor_of(tx: Tx, build_uuid: str) -> Build | None:
    """The newest build that resumes this one."""
    query = sa.select(builds.c.build_uuid).where(builds.c.resume_from == build_uuid)
    newest = tx.execute(query.order_by(builds.c.position.desc()).limit(1)).scalar()
    return None if newest is None else find_build(tx, newest)


def written_build(tx: Tx, build_uuid: str) -> Build:
    """The build to which a write to this one goes: a client may still have the id of a build that was resumed.

    Raises NotFoundError.
    """
    build = known_build(tx, build_uuid)
    while build.state.final and (newer := successor_of(tx, build.build_uuid)) is not None:
        build = newer
    return build


def lock_written(tx: Tx, build_uuid: str) -> Build:
    """The build that a write goes to (see `written_build`), locked; this counts as a call. Raises NotFoundError."""
    build = lock_build(tx, build_uuid)
    if build is None or build.state.final:
        target = written_build(tx, build_uuid)
        build = lock_build(tx, target.build_uuid) or target
    note_call(tx, build.build_uuid)
    return build


def ended_before(tx: Tx, build_uuid: str, written: Build) -> Build | None:
    """The build with this uuid, if writes to it go to `written`, which does not run.

    What does not run cannot fail: so a report of an end may repeat the one that ended the named build.
    """
    if written.build_uuid == build_uuid or written.state is State.RUNNING:
        return None
    return find_build(tx, build_uuid)


def begin_record(tx: Tx, build: Build) -> Build:
    """recorded → running, for a record that its CI system begins to run."""
    if build.api is Api.RECORD and build.state is State.RECORDED:
        values = {"state": State.RUNNING.value, "running_at": tx.now.at, "running_steady_at": tx.now.steady}
        tx.execute(builds.update().where(builds.c.build_uuid == build.build_uuid).values(values))
        cancel_call(tx, build.build_uuid)
        running = reread(tx, build)
        emit_event(tx, running, status=Status.PENDING, building=True)
        return reread(tx, running)
    return build


def note_call(tx: Tx, build_uuid: str) -> None:
    """Record the time of this call about the record: without further calls it later counts as abandoned."""
    of_build = (builds.c.build_uuid == build_uuid, builds.c.api == Api.RECORD.value)
    tx.execute(builds.update().where(*of_build).values(called_steady_at=tx.now.steady))


def add_fields(tx: Tx, build: Build, fields: Mapping[str, Any]) -> Build:
    """Add or replace these fields in the build's column `record`, for example the id of its image."""
    values = {"record": {**(build.record or {}), **fields}}
    tx.execute(builds.update().where(builds.c.build_uuid == build.build_uuid).values(values))
    return reread(tx, build)
