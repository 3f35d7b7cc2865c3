"""Reads builds: single ones, lists, and their receivers, sinks and artifacts."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shuttle.build import FINAL, Api, Build, Checkpoint, SourceFacts, State, StopCause
from shuttle.outgoing.endpoints import EndpointKind, EndpointState, PayloadFormat
from shuttle.store.prepared import Prepared
from shuttle.store.tables import OPEN_RECORDS, TO_RUN, apps, artifacts, builds, events, receivers, sinks
from shuttle.store.tx import Tx

# A build that was triggered before its app moved to another controller has the earlier one in its own row.
_CONTROLLER = sa.func.coalesce(builds.c.controller, apps.c.controller).label("controller")
_OTHERWISE_NAMED = {"controller": _CONTROLLER, "job_name": apps.c.job_name}
# The fields of a build that have the value of their column.
_SAME = tuple(
    name
    for name in Build.__dataclass_fields__
    if name not in {"api", "state", "destinations", "source", "stop_cause", "checkpoint"}
)
_OTHERS = (builds.c.api, builds.c.state, builds.c.destinations, builds.c.stop_cause, builds.c.checkpoint)
_COLUMNS = [
    *(_OTHERWISE_NAMED[name] if name in _OTHERWISE_NAMED else builds.c[name] for name in _SAME),
    *_OTHERS,
    *(builds.c[f"source_{fact.name}"] for fact in fields(SourceFacts)),
]
# The rows from which `build_from` makes builds.
BUILD_ROWS = sa.select(*_COLUMNS).join(apps, apps.c.app_id == builds.c.app_id)
_OF_UUID = BUILD_ROWS.where(builds.c.build_uuid == sa.bindparam("uuid"))
_BY_UUID = Prepared(_OF_UUID)
# `key_share` lets other transactions insert rows that refer to the build. On SQLite, which has one writer, FOR UPDATE
# compiles to nothing.
_LOCKED = Prepared(_OF_UUID.with_for_update(of=builds, key_share=True))
_PLAN = sa.select(builds.c.plan).where(builds.c.build_uuid == sa.bindparam("uuid"))
_BY_ID = Prepared(
    BUILD_ROWS.where(builds.c.app_id == sa.bindparam("app_id"), builds.c.build_id == sa.bindparam("build_id"))
    .order_by(builds.c.position.desc())
    .limit(1)
)


def build_from(row: Sequence[Any]) -> Build:
    """Convert a row that begins with _COLUMNS to a `Build`. By place: by name it would take twice as long."""
    api, state, destinations, stop_cause, checkpoint, *facts = row[len(_SAME) : len(_COLUMNS)]
    return Build(
        **dict(zip(_SAME, row, strict=False)),
        api=Api(api),
        state=State(state),
        destinations=tuple(destinations),
        source=SourceFacts(*facts),
        stop_cause=StopCause(stop_cause) if stop_cause else None,
        checkpoint=Checkpoint(**checkpoint) if checkpoint else None,
    )


def find_build(tx: Tx, build_uuid: str) -> Build | None:
    """The build with this uuid."""
    return next(map(build_from, _BY_UUID.fetch_wide(tx, {"uuid": build_uuid})), None)


def lock_build(tx: Tx, build_uuid: str) -> Build | None:
    """Lock and return the build with this uuid; no other transaction changes it until this one ends."""
    return next(map(build_from, _LOCKED.fetch_wide(tx, {"uuid": build_uuid})), None)


def reread(tx: Tx, build: Build) -> Build:
    """Read the build's current row."""
    return find_build(tx, build.build_uuid) or build


def find_newest(tx: Tx, app_id: str, build_id: str) -> Build | None:
    """The newest build with these ids."""
    return next(map(build_from, _BY_ID.fetch_wide(tx, {"app_id": app_id, "build_id": build_id})), None)


def find_builds(tx: Tx, app_id: str, build_id: str) -> list[Build]:
    """All builds with these ids, oldest first. At most one, the first, is of the new API."""
    pair = (builds.c.app_id == app_id, builds.c.build_id == build_id)
    return [build_from(row) for row in tx.execute(BUILD_ROWS.where(*pair).order_by(builds.c.position))]


def builds_with_running_logs(tx: Tx) -> list[Build]:
    """The builds whose logs have begun on agents and are not archived yet, oldest first."""
    running = (builds.c.claimed_at.is_not(None), builds.c.archived_at.is_(None))
    return [build_from(row) for row in tx.execute(BUILD_ROWS.where(*running).order_by(builds.c.position))]


def has_app(tx: Tx, app_id: str) -> bool:
    """Whether the app is known: by an accepted build, an assigned number, or a recorded project."""
    return tx.execute(sa.select(apps.c.app_id).where(apps.c.app_id == app_id)).first() is not None


def page_of_builds(
    tx: Tx, *, app_id: str | None = None, before: int | None = None, state: State | None = None, limit: int = 50
) -> list[Build]:
    """Up to `limit` builds, newest first; `before` is an exclusive upper limit of their positions."""
    query = BUILD_ROWS.order_by(builds.c.position.desc()).limit(limit)
    if app_id is not None or state is not None:
        states = None if state is None else {state}
        query = query.where(builds.c.position.in_(newest_positions(app_id, states, limit, before=before)))
    elif before is not None:
        query = query.where(builds.c.position < before)
    return [build_from(row) for row in tx.execute(query)]


def whole_builds(positions: sa.Select[tuple[int]]) -> Prepared:
    """The query for the builds with the positions that a query selects, the newest first; see `build_from`."""
    return Prepared(BUILD_ROWS.where(builds.c.position.in_(positions)).order_by(builds.c.position.desc()))


def newest_positions(
    app_id: str | sa.BindParameter[str] | None,
    states: Collection[State] | None,
    limit: int | sa.BindParameter[int],
    *,
    before: int | None = None,
) -> sa.CompoundSelect[tuple[int]]:
    """The newest positions among the unfinished builds and in each final state: every part is read from an index.

    None = of all apps, in all states. Each part has `limit` positions.
    """
    newest = sa.select(builds.c.position).limit(limit)
    if before is not None:
        newest = newest.where(builds.c.position < before)
    # SQLite reads an index of unfinished builds only if no other index fits: hence `serial_key` and `+ 0`.
    to_run = newest.where(TO_RUN).order_by((builds.c.position + 0).desc())
    records = newest.where(OPEN_RECORDS).order_by((builds.c.position + 0).desc())
    ended = newest.where(builds.c.finished_at.is_not(None)).order_by(builds.c.position.desc())
    if app_id is not None:
        to_run, ended = to_run.where(builds.c.serial_key == app_id), ended.where(builds.c.app_id == app_id)
        # The index of open records has the order of an app's records, of which there may be many.
        records = newest.where(OPEN_RECORDS, builds.c.app_id == app_id).order_by(builds.c.position.desc())
    parts = [ended.where(builds.c.state == final.value) for final in sorted(FINAL) if states is None or final in states]
    if states is None:
        parts += [to_run, records]
    elif unended := sorted(state.value for state in states if not state.final):
        parts += [unfinished.where(has_state(unended)) for unfinished in (to_run, records)]
    return sa.union_all(*(sa.select(part.subquery().c.position) for part in parts))


def has_state(states: Iterable[str]) -> sa.ColumnElement[bool]:
    """The condition that a build has one of these states, as a prepared statement can have it."""
    return builds.c.state.in_([sa.literal(state) for state in states])


def sealed_spec(tx: Tx, build_uuid: str) -> bytes:
    """The encrypted spec of the build."""
    plan: bytes = tx.execute(_PLAN, {"uuid": build_uuid}).scalar_one()
    return plan


def newest_event(tx: Tx, build_uuid: str) -> bytes | None:
    """The body of the build's newest status event."""
    query = sa.select(events.c.body).where(events.c.build_uuid == build_uuid).order_by(events.c.sequence.desc())
    body: bytes | None = tx.execute(query.limit(1)).scalar()
    return body


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file that the build uploaded; its bytes are in the object store."""

    name: str
    size_bytes: int
    sha256: str
    content_type: str


def artifacts_of(tx: Tx, build_uuid: str, *, with_deleted: bool = False) -> list[Artifact]:
    """The files that the build uploaded, sorted by name."""
    columns = (artifacts.c.name, artifacts.c.size_bytes, artifacts.c.sha256, artifacts.c.content_type)
    # A reference is an artifact that is stored elsewhere.
    uploads = [artifacts.c.build_uuid == build_uuid, artifacts.c.reference.is_(None)]
    if not with_deleted:
        uploads.append(artifacts.c.deleted_at.is_(None))
    return [Artifact(*row) for row in tx.execute(sa.select(*columns).where(*uploads).order_by(artifacts.c.name))]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The recorded state of a receiver or sink, for display: without secrets."""

    kind: EndpointKind
    host: str
    state: EndpointState
    attempts: int
    last_error: str | None
    failing_since: datetime | None
    failovers: Sequence[Mapping[str, str]]
    acked_offset: int | None = None


def receivers_of(tx: Tx, build_uuid: str) -> Sequence[Endpoint]:
    """The status receivers in the order of the request."""
    return _endpoints(tx, receivers, build_uuid)


def sinks_of(tx: Tx, build_uuid: str) -> Sequence[Endpoint]:
    """The log sinks in the order of the request."""
    return _endpoints(tx, sinks, build_uuid, sinks.c.acked_offset)


def endpoints_and_artifacts(tx: Tx, build_uuid: str) -> tuple[Sequence[Endpoint], Sequence[Endpoint], list[Artifact]]:
    """Receivers, sinks and artifacts of a build, read in one transaction."""
    return receivers_of(tx, build_uuid), sinks_of(tx, build_uuid), artifacts_of(tx, build_uuid)


def _endpoints(tx: Tx, table: sa.Table, build_uuid: str, *more: sa.Column[Any]) -> Sequence[Endpoint]:
    names = ("kind", "host", "state", "attempts", "last_error", "failing_since", "failovers")
    query = (
        sa.select(*(table.c[name] for name in names), *more)
        .where(table.c.build_uuid == build_uuid, table.c.wire != PayloadFormat.RESUME)
        .order_by(table.c.place)
    )
    return [
        Endpoint(EndpointKind(kind), host, EndpointState(state), *facts)
        for kind, host, state, *facts in tx.execute(query)
    ]
