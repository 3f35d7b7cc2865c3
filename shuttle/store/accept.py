"""Records new builds: the rows that exist when the caller gets its 200."""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import sqlalchemy as sa

from shuttle.build import Api, Build
from shuttle.clock import Moment
from shuttle.errors import ConflictError, QueueFullError, ShuttleError, StoreError, TokenNeededError
from shuttle.standing import Standing
from shuttle.store.auto_resumes import cancel_resumes, refused_resume
from shuttle.store.build_numbers import reserve_numbers
from shuttle.store.idempotency import find_recorded, find_recorded_legacy
from shuttle.store.new_build import (
    FIRST_EPOCH,
    INSERT_APPS,
    INSERT_BUILDS,
    NewBuild,
    NewEndpoint,
    app_row,
    build_of,
    build_row,
    endpoint_row,
    packer_row,
)
from shuttle.store.outbox import emit_first_events
from shuttle.store.ownership import take_idle_apps
from shuttle.store.pending_uploads import forget_uploads
from shuttle.store.platforms import child_of, child_row
from shuttle.store.prepared import Prepared, padded
from shuttle.store.resume_lines import unfinished_successor
from shuttle.store.tables import TO_RUN, apps, builds, packer_runs, receivers, sinks
from shuttle.store.taken_ids import (
    Uuids,
    lost_uploads,
    taken_by_platforms,
    taken_child,
    taken_pairs,
    uuids_in_use,
)
from shuttle.store.tx import Topic, Tx


@dataclass(frozen=True, slots=True)
class AcceptRequest:
    """A request to record; `same_request` compares a recorded fingerprint with it.

    `queue_limit` None = the waiting builds need not be counted: there is no limit, or certainly enough room.
    """

    new: NewBuild
    now: Moment
    queue_limit: int | None
    same_request: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The build of a request; `replayed` = an equal request had been recorded before.

    `epoch` is that of the app if this process owns it; None = another process has to begin the build, unless it is
    replayed. `waiting` is the number of builds that were waiting before this one; None = they were not counted.
    """

    build: Build
    replayed: bool
    epoch: int | None = None
    waiting: int | None = None


_WAITING = sa.select(sa.func.count()).select_from(builds).where(builds.c.slot_at.is_(None), TO_RUN)


def record_all(tx: Tx, requests: Sequence[AcceptRequest]) -> list[Accepted | ShuttleError]:
    """Record a batch of requests: each build with its receivers, its sinks and its first event.

    Uses few statements for the whole batch, because each further statement costs as much as a further row. Returns a
    result for each request: Accepted, ConflictError (409: another request has used the ids of the build or of one of
    its platforms, or resumes the same build), QueueFullError (429), TokenNeededError (401: the caller is anonymous, and
    the request or its app belongs to the new API) or StoreError (503: another request uses the same uuid, so this one
    has to be sent again).
    """
    while True:
        known = _lock_apps(tx, requests)
        fresh, results = _decide(tx, requests, {app_id: app.api for app_id, app in known.items()})
        if _add_apps(tx, [request for request, _ in fresh if request.new.app_id not in known]):
            break
    epochs = _own_apps(tx, fresh, known)
    if fresh:
        _insert(tx, fresh)
    _undo_deletions(tx, {build.app_id for _, build in fresh if build.app_id in known and known[build.app_id].deleted})
    for _, build in fresh:
        if build.app_id not in epochs:  # the replica that owns the app has to begin the build
            tx.notify(Topic.WORKER, build.build_uuid)
    if fresh and not tx.takes_apps:
        tx.notify(Topic.RELEASED)
    for index, request in enumerate(requests):
        result = results.get(index)
        if result is None:
            results[index] = _find_recorded(tx, request)
        elif isinstance(result, Accepted):
            results[index] = replace(result, epoch=epochs.get(request.new.app_id))
    return [results[index] for index in range(len(requests))]


def _undo_deletions(tx: Tx, app_ids: Collection[str]) -> None:
    """A new build needs the app's Jenkins job. The clocks of two replicas could not tell which of both came later."""
    if app_ids:
        tx.execute(apps.update().where(apps.c.app_id.in_(app_ids)).values(deleted_at=None))


class _App(NamedTuple):
    """What is known of an app: the API that created it, its owner, and whether it is marked as deleted."""

    api: Api
    owner: str | None
    epoch: int
    deleted: bool


_Fresh = Sequence[tuple[AcceptRequest, Build]]
_Results = dict[int, Accepted | ShuttleError]


def _decide(tx: Tx, requests: Sequence[AcceptRequest], apis: dict[str, Api]) -> tuple[_Fresh, _Results]:
    """The builds to record, and the results by the index of the request.

    A request whose uuid or ids are taken has no result yet: it is a repeat or a conflict (see `_find_recorded`).
    """
    new = [request.new for request in requests]
    in_use, lost = uuids_in_use(tx, new), lost_uploads(tx, new)
    taken = taken_pairs(tx, new) | taken_by_platforms(tx, new)
    fresh: list[tuple[AcceptRequest, Build]] = []
    results: _Results = {}
    waiting_before: int | None = None
    for index, request in enumerate(requests):
        created_by = apis.get(request.new.app_id, Api.LEGACY)
        if request.new.standing is Standing.ANONYMOUS and {request.new.api, created_by} != {Api.LEGACY}:
            results[index] = TokenNeededError(field="app")
            continue
        if request.new.build_uuid in in_use.recorded if request.new.api is Api.LEGACY else request.new.pair in taken:
            continue
        decided = _successor(tx, request) or taken_child(request.new, taken)
        decided = decided or refused_resume(tx, request.new, (build for _, build in fresh))
        if decided is not None:
            results[index] = decided
            continue
        placed = _placed(request, in_use, lost)
        if isinstance(placed, StoreError):
            results[index] = placed
            continue
        waiting = None
        if request.queue_limit is not None:
            waiting_before = tx.execute(_WAITING).scalar_one() if waiting_before is None else waiting_before
            waiting = waiting_before + len(fresh)
            if waiting >= request.queue_limit:
                results[index] = _queue_full(request.queue_limit)
                continue
        build = build_of(placed.new, placed.now)
        fresh.append((placed, build))
        apis.setdefault(placed.new.app_id, placed.new.api)
        taken.update((placed.new.pair, *placed.new.pairs_of_children))
        in_use.recorded.add(build.build_uuid)
        results[index] = Accepted(build, replayed=False, waiting=waiting)
    return fresh, results


def _lock_apps(tx: Tx, requests: Sequence[AcceptRequest]) -> dict[str, _App]:
    """Lock and return the existing apps of the requests.

    No other transaction records a build of these apps until this one ends. They are locked in a fixed order, so that
    two transactions cannot deadlock.
    """
    app_ids = list(dict.fromkeys(request.new.app_id for request in requests))
    values = {f"a_{index}": app_id for index, app_id in enumerate(padded(app_ids))}
    rows = _locked_apps(len(values)).fetch(tx, values)
    return {app_id: _App(Api(api), *rest) for app_id, api, *rest in rows}


def _own_apps(tx: Tx, fresh: _Fresh, known: Mapping[str, _App]) -> dict[str, int]:
    """Become the owner of the apps of these builds, unless another replica works for them; returns their epochs."""
    if not tx.takes_apps:
        return {}
    epochs, foreign = dict[str, int](), list[str]()
    for app_id in dict.fromkeys(build.app_id for _, build in fresh):
        app = known.get(app_id)
        if app is None:
            epochs[app_id] = FIRST_EPOCH
        elif app.owner == tx.instance:
            epochs[app_id] = app.epoch
        else:
            foreign.append(app_id)
    return epochs | dict(take_idle_apps(tx, foreign) if foreign else ())


def _add_apps(tx: Tx, requests: Sequence[AcceptRequest]) -> bool:
    """Insert the new apps; False = another transaction has just inserted one, so lock the apps and decide again."""
    first = {request.new.app_id: request for request in reversed(requests)}
    owner = tx.instance if tx.takes_apps else None
    rows = [app_row(request.new, request.now.at, owner) for _, request in sorted(first.items())]
    return not rows or INSERT_APPS.run(tx, rows) == len(rows)


@cache
def _locked_apps(count: int) -> Prepared:
    wanted = [sa.bindparam(f"a_{index}", type_=sa.Text) for index in range(count)]
    columns = (apps.c.app_id, apps.c.api, apps.c.owner, apps.c.epoch, apps.c.deleted_at.is_not(None))
    query = sa.select(*columns).where(apps.c.app_id.in_(wanted)).order_by(apps.c.app_id)
    return Prepared(query.with_for_update(key_share=True))


def _successor(tx: Tx, request: AcceptRequest) -> Accepted | ConflictError | None:
    """The answer if an unfinished build resumes the same build already, or another one of its line.

    Requests to resume builds of one line are recorded one after the other. In one process `Acceptance.accept_resume`
    holds a lock, so a batch has only one of them. Other processes wait until the row of the app is unlocked.
    """
    if request.new.resume_from is None:
        return None
    try:
        known = unfinished_successor(tx, request.new.resume_from, request.same_request)
    except ConflictError as error:
        return error
    return None if known is None else Accepted(known, replayed=True)


def _placed(request: AcceptRequest, in_use: Uuids, lost: set[str]) -> AcceptRequest | StoreError:
    """The request with a uuid that no other build has. StoreError: the caller has to send the request again.

    If the chosen uuid is in use, a build of the new API gets a random one, because its app id and build id identify it.
    It cannot get another uuid if its source is already stored under the chosen one.
    """
    new, wanted = request.new, request.new.build_uuid
    if new.source_sha256 is not None:
        if wanted in lost or wanted in in_use.recorded:
            return StoreError("Another request with this uuid was first; send the request again.")
    elif wanted in in_use.recorded or wanted in in_use.uploading:
        if new.api is Api.LEGACY:
            return StoreError("Another request with this uuid is being recorded; send the request again.")
        return replace(request, new=replace(new, build_uuid=str(uuid.uuid4())))
    return request


def _queue_full(queue_limit: int) -> QueueFullError:
    return QueueFullError(f"{queue_limit} builds are waiting already; try again later.", headers={"Retry-After": "30"})


def _find_recorded(tx: Tx, request: AcceptRequest) -> Accepted | ShuttleError:
    try:
        if request.new.api is Api.LEGACY:
            recorded = find_recorded_legacy(tx, request.new.build_uuid, request.same_request)
        else:
            recorded = find_recorded(tx, *request.new.pair, request.same_request)
    except ConflictError as error:
        return error
    assert recorded is not None  # noqa: S101 - its identity is taken
    return Accepted(recorded, replayed=True)


def _insert(tx: Tx, fresh: _Fresh) -> None:
    INSERT_BUILDS.run(tx, [build_row(request.new, build) for request, build in fresh])
    resumed = [request.new.resume_from for request, _ in fresh if request.new.resume_from is not None]
    if resumed:
        cancel_resumes(tx, resumed)
    uploaded = [request.new.build_uuid for request, _ in fresh if request.new.source_sha256 is not None]
    if uploaded:
        forget_uploads(tx, uploaded)
    numbered = [request.new for request, _ in fresh if request.new.api is Api.LEGACY]
    if numbered:
        reserve_numbers(tx, numbered)
    for table, endpoints_of in ((receivers, _receivers_of), (sinks, _sinks_of)):
        rows = [
            endpoint_row(request.new, index, endpoint)
            for request, _ in fresh
            for index, endpoint in enumerate(endpoints_of(request))
        ]
        if rows:
            tx.execute(table.insert(), rows)
    runs = [
        packer_row(run, build.build_uuid) for request, build in fresh if (run := request.new.packer_run) is not None
    ]
    if runs:
        tx.execute(packer_runs.insert(), runs)
    children = [(child_of(build, child), request) for request, build in fresh for child in request.new.children]
    if children:
        tx.execute(builds.insert(), [child_row(request.new, child, request.now) for child, request in children])
    first = [(build, bool(request.new.receivers)) for request, build in fresh]
    emit_first_events(tx, [*first, *((child, False) for child, _ in children)])


def _receivers_of(request: AcceptRequest) -> Sequence[NewEndpoint]:
    return request.new.receivers


def _sinks_of(request: AcceptRequest) -> Sequence[NewEndpoint]:
    return request.new.sinks
