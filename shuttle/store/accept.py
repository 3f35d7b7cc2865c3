"""Records new builds: the rows that exist when the caller gets its 200."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple, TypeVar

import sqlalchemy as sa

from shuttle.build import Api, Build
from shuttle.clock import Moment
from shuttle.errors import ConflictError, QueueFullError, ShuttleError, StoreError, TokenNeededError
from shuttle.standing import Standing
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
)
from shuttle.store.outbox import emit_first_events
from shuttle.store.ownership import take_idle_apps
from shuttle.store.pending_uploads import forget_uploads, held_uploads, uploads_under_way
from shuttle.store.platforms import child_of, child_row, recorded_pairs
from shuttle.store.prepared import Prepared
from shuttle.store.tables import TO_RUN, apps, builds, receivers, sinks
from shuttle.store.tx import Topic, Tx

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class AcceptRequest:
    """A request to record; `same_request` compares a recorded fingerprint with it.

    `queue_limit` None = the waiting builds need not be counted: there is no limit, or certainly enough room.
    """

    new: NewBuild
    now: Moment
    queue_limit: int | None
    same_request: Callable[[str], bool]

    @property
    def pair(self) -> tuple[str, str]:
        """App id and build id. A new API's build cannot have the pair of any earlier build.

        Requests to the new API with the same pair are repeats or conflicts; those to the older API are if they have the
        same uuid.
        """
        return self.new.app_id, self.new.build_id

    @property
    def pairs_of_children(self) -> list[tuple[str, str]]:
        """The pairs of the records of the build's platforms."""
        return [(self.new.app_id, child.build_id) for child in self.new.children]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The build of a request; `replayed` = an equal request had been recorded before.

    `epoch` is that of the app, if this process owns it; else its owner begins the build. `waiting` is the number of
    builds that were waiting before this one; None = they were not counted.
    """

    build: Build
    replayed: bool
    epoch: int | None = None
    waiting: int | None = None


_WAITING = sa.select(sa.func.count()).select_from(builds).where(builds.c.slot_at.is_(None), TO_RUN)


def record_all(tx: Tx, requests: Sequence[AcceptRequest]) -> list[Accepted | ShuttleError]:
    """Record a batch of requests: each build with its receivers, its sinks and its first event, `queued`.

    Uses few statements for the whole batch, because a statement costs as much as the row that it writes. Returns a
    result for each request: Accepted, ConflictError (409: another request with the same ids), QueueFullError (429) or
    TokenNeededError (401: the caller is anonymous and the app belongs to the new API).
    """
    while True:
        known = _lock_apps(tx, requests)
        fresh, results = _decide(tx, requests, {app_id: app.api for app_id, app in known.items()})
        if _add_apps(tx, [request for request, _ in fresh if request.new.app_id not in known]):
            break
    epochs = _own_apps(tx, fresh, known)
    if fresh:
        _insert(tx, fresh)
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


class _App(NamedTuple):
    """What is known of an app: the API that created it, and its owner."""

    api: Api
    owner: str | None
    epoch: int


_Fresh = Sequence[tuple[AcceptRequest, Build]]
_Results = dict[int, Accepted | ShuttleError]


def _decide(tx: Tx, requests: Sequence[AcceptRequest], apis: dict[str, Api]) -> tuple[_Fresh, _Results]:
    """The builds to record, and the results by the index of the request. Repeats and conflicts have no result yet."""
    in_use, lost = _uuids_in_use(tx, requests), _lost_uploads(tx, requests)
    taken = _taken_pairs(tx, requests) | _taken_by_platforms(tx, requests)
    fresh: list[tuple[AcceptRequest, Build]] = []
    results: _Results = {}
    waiting_before: int | None = None
    for index, request in enumerate(requests):
        created_by = apis.get(request.new.app_id, Api.LEGACY)
        if request.new.standing is Standing.ANONYMOUS and {request.new.api, created_by} != {Api.LEGACY}:
            results[index] = TokenNeededError(field="app")
            continue
        if request.new.build_uuid in in_use.recorded if request.new.api is Api.LEGACY else request.pair in taken:
            continue
        conflict = _taken_child(request, taken)
        if conflict is not None:
            results[index] = conflict
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
        taken.update((placed.pair, *placed.pairs_of_children))
        in_use.recorded.add(build.build_uuid)
        results[index] = Accepted(build, replayed=False, waiting=waiting)
    return fresh, results


def _lock_apps(tx: Tx, requests: Sequence[AcceptRequest]) -> dict[str, _App]:
    """Lock and return the existing apps of the requests.

    No other transaction records a build of these apps until this one ends. They are locked in a fixed order, so that
    two transactions cannot deadlock.
    """
    app_ids = list(dict.fromkeys(request.new.app_id for request in requests))
    values = {f"a_{index}": app_id for index, app_id in enumerate(_padded(app_ids))}
    rows = _locked_apps(len(values)).fetch(tx, values)
    return {app_id: _App(Api(api), owner, epoch) for app_id, api, owner, epoch in rows}


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


def _padded(values: Sequence[_T]) -> list[_T]:
    """Repeat the last value up to a power of two, so that only eight statements are compiled for up to 128 requests."""
    return [*values, *[values[-1]] * ((1 << (len(values) - 1).bit_length()) - len(values))]


@cache
def _locked_apps(count: int) -> Prepared:
    wanted = [sa.bindparam(f"a_{index}", type_=sa.Text) for index in range(count)]
    columns = (apps.c.app_id, apps.c.api, apps.c.owner, apps.c.epoch)
    query = sa.select(*columns).where(apps.c.app_id.in_(wanted)).order_by(apps.c.app_id)
    return Prepared(query.with_for_update(key_share=True))


def _taken_pairs(tx: Tx, requests: Sequence[AcceptRequest]) -> set[tuple[str, str]]:
    """Those pairs of ids of requests to the new API that builds of either API have already."""
    wanted = [request.pair for request in requests if request.new.api is Api.NEW]
    if not wanted:
        return set()
    pairs = _padded(wanted)
    values = {f"{name}_{index}": id_ for index, pair in enumerate(pairs) for name, id_ in zip("ab", pair, strict=True)}
    return {(app_id, build_id) for app_id, build_id in _builds_of_pairs(len(pairs)).fetch(tx, values)}


def _taken_by_platforms(tx: Tx, requests: Sequence[AcceptRequest]) -> set[tuple[str, str]]:
    """Those pairs of ids of the requests' platforms that builds have already."""
    pairs = [pair for request in requests for pair in request.pairs_of_children]
    return recorded_pairs(tx, pairs) if pairs else set()


def _taken_child(request: AcceptRequest, taken: set[tuple[str, str]]) -> ConflictError | None:
    for index, pair in enumerate(request.pairs_of_children):
        if pair in taken:
            message = f"Build {pair[1]} of {pair[0]} exists; choose another build id, or another name for the platform."
            return ConflictError(message, field=f"platforms[{index}]")
    return None


@cache
def _builds_of_pairs(count: int) -> Prepared:
    wanted = [
        sa.tuple_(sa.bindparam(f"a_{index}", type_=sa.Text), sa.bindparam(f"b_{index}", type_=sa.Text))
        for index in range(count)
    ]
    query = sa.select(builds.c.app_id, builds.c.build_id)
    return Prepared(query.where(sa.tuple_(builds.c.app_id, builds.c.build_id).in_(wanted)))


class _Uuids(NamedTuple):
    """The uuids that requests may not take: those of builds, and those under which a source is being stored."""

    recorded: set[str]
    uploading: set[str]


def _uuids_in_use(tx: Tx, requests: Sequence[AcceptRequest]) -> _Uuids:
    """Looks only for uuids that callers have chosen."""
    in_use = _Uuids(set(), set())
    chosen = [request.new.build_uuid for request in requests if request.new.chose_uuid]
    if chosen:
        recorded = sa.select(builds.c.build_uuid, sa.true()).where(builds.c.build_uuid.in_(chosen))
        uploading = uploads_under_way(tx, chosen).add_columns(sa.false())
        for build_uuid, is_recorded in tx.execute(recorded.union_all(uploading)):
            (in_use.recorded if is_recorded else in_use.uploading).add(build_uuid)
    return in_use


def _lost_uploads(tx: Tx, requests: Sequence[AcceptRequest]) -> set[str]:
    """The uuids whose stored source another request may have replaced, because the upload took too long."""
    sources = {new.build_uuid: new.source_sha256 for new in (request.new for request in requests) if new.source_sha256}
    return sources.keys() - held_uploads(tx, sources) if sources else set()


def _placed(request: AcceptRequest, in_use: _Uuids, lost: set[str]) -> AcceptRequest | StoreError:
    """The request with a uuid that it may take: the chosen one, or a random one if the build id keeps its meaning."""
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
            recorded = find_recorded(tx, *request.pair, request.same_request)
    except ConflictError as error:
        return error
    assert recorded is not None  # noqa: S101 - its identity is taken
    return Accepted(recorded, replayed=True)


def _insert(tx: Tx, fresh: _Fresh) -> None:
    INSERT_BUILDS.run(tx, [build_row(request.new, build) for request, build in fresh])
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
    children = [(child_of(build, child), request) for request, build in fresh for child in request.new.children]
    if children:
        tx.execute(builds.insert(), [child_row(request.new, child, request.now) for child, request in children])
    first = [(build, bool(request.new.receivers)) for request, build in fresh]
    emit_first_events(tx, [*first, *((child, False) for child, _ in children)])


def _receivers_of(request: AcceptRequest) -> Sequence[NewEndpoint]:
    return request.new.receivers


def _sinks_of(request: AcceptRequest) -> Sequence[NewEndpoint]:
    return request.new.sinks
