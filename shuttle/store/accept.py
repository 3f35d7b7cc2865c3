"""Recording a new build, once: the rows that exist when the caller reads 200."""

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shuttle.build import Api, Build, SourceFacts
from shuttle.clock import Moment
from shuttle.errors import ConflictError, QueueFullError, ShuttleError, TokenNeededError
from shuttle.standing import Standing
from shuttle.store.build_numbers import count_on
from shuttle.store.builds import find_build
from shuttle.store.idempotency import find_recorded, find_recorded_legacy
from shuttle.store.outbox import emit_first
from shuttle.store.pending_uploads import forget_uploads
from shuttle.store.prepared import Prepared
from shuttle.store.tables import apps, builds, receivers, sinks
from shuttle.store.tx import Tx

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """A receiver or sink to record: `target` is its sealed url and headers, `host` what may be shown.

    `wire` is the form of what it is sent: standard, or the older API's.
    """

    kind: str
    host: str
    target: bytes = field(repr=False)
    wire: str = "standard"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBuild:
    """A checked request of a caller of that standing; `plan` and the parties' targets are sealed."""

    standing: Standing
    api: Api = Api.NEW
    build_uuid: str
    app_id: str
    build_id: str
    job_name: str
    controller: str
    plan: bytes = field(repr=False)
    token_digest: str
    request_fingerprint: str
    metadata_json: str
    human_readable_info: str | None
    labels: dict[str, str]
    pipeline: str
    destinations: tuple[str, ...]
    source_url: str
    source_sha256: str | None = None
    source_bytes: int | None = None
    source_content_type: str | None = None
    timeout_seconds: float
    deadline_seconds: float
    receivers: Sequence[NewEndpoint] = ()
    sinks: Sequence[NewEndpoint] = ()


# Of a build of the older API its uuid, of one of the new API its app id and build id.
Identity = str | tuple[str, str]


@dataclass(frozen=True, slots=True)
class AcceptRequest:
    """One request to record: `same_request` compares a recorded fingerprint with it.

    `queue_limit` None: there is room for certain, or no limit; the waiting builds need no counting.
    """

    new: NewBuild
    now: Moment
    queue_limit: int | None
    same_request: Callable[[str], bool]

    @property
    def pair(self) -> tuple[str, str]:
        """What no two builds of the new API share, nor one of them with an earlier one of the older API."""
        return self.new.app_id, self.new.build_id

    @property
    def identity(self) -> Identity:
        """What makes it the same request as another: the older API's clients give each build a uuid."""
        return self.new.build_uuid if self.new.api is Api.LEGACY else self.pair


@dataclass(frozen=True, slots=True)
class Accepted:
    """What came of it: `replayed` = an equal request had been recorded before.

    `waiting` is how many builds waited before this one, None where they were not counted.
    """

    build: Build
    replayed: bool
    waiting: int | None = None


_WAITING = (
    sa.select(sa.func.count()).select_from(builds).where(builds.c.slot_at.is_(None), builds.c.finished_at.is_(None))
)


def record_all(tx: Tx, asked: Sequence[AcceptRequest]) -> list[Accepted | ShuttleError]:
    """Record what came in together: each build with its receivers, its sinks and its first event, `queued`.

    A handful of statements for all of them, because a statement costs as much as the row it writes. For each request
    what came of it, or ConflictError (409: another request under the same ids), QueueFullError (429) or
    TokenNeededError (401: an anonymous caller, an app of the new API).
    """
    while True:
        apis = _lock_apps(tx, asked)
        fresh, results = _decide(tx, asked, dict(apis))
        if _add_apps(tx, [request for request, _ in fresh if request.new.app_id not in apis]):
            break
    if fresh:
        _insert(tx, fresh)
    for place, request in enumerate(asked):
        if place not in results:
            results[place] = _repeated(tx, request)
    return [results[place] for place in range(len(asked))]


_Fresh = Sequence[tuple[AcceptRequest, Build]]
_Results = dict[int, Accepted | ShuttleError]


def _decide(tx: Tx, asked: Sequence[AcceptRequest], apis: dict[str, Api]) -> tuple[_Fresh, _Results]:
    """The builds to record, and what is known of the requests by then; the rest are repeats, or conflicts."""
    taken = _taken(tx, asked)
    fresh: dict[Identity, tuple[AcceptRequest, Build]] = {}
    results: _Results = {}
    waited: int | None = None
    for place, request in enumerate(asked):
        if request.new.standing is Standing.ANONYMOUS and Api.NEW in {request.new.api, apis.get(request.new.app_id)}:
            results[place] = TokenNeededError(field="app")
            continue
        if request.identity in taken or request.identity in fresh:
            continue
        waiting = None
        if request.queue_limit is not None:
            waited = tx.execute(_WAITING).scalar_one() if waited is None else waited
            waiting = waited + len(fresh)
            if waiting >= request.queue_limit:
                results[place] = _queue_full(request.queue_limit)
                continue
        build = _recorded(request.new, request.now)
        fresh[request.identity] = request, build
        apis.setdefault(request.new.app_id, request.new.api)
        taken.add(request.pair)
        results[place] = Accepted(build, replayed=False, waiting=waiting)
    return list(fresh.values()), results


def _lock_apps(tx: Tx, asked: Sequence[AcceptRequest]) -> dict[str, Api]:
    """By which API the known ones of the apps were made. Until the end of the transaction nobody else records a build
    of them; in one order, so that two transactions do not wait for each other."""
    app_ids = list(dict.fromkeys(request.new.app_id for request in asked))
    values = {f"a_{place}": app_id for place, app_id in enumerate(_padded(app_ids))}
    return {app_id: Api(api) for app_id, api in _locked_apps(len(values)).ask(tx, values)}


def _add_apps(tx: Tx, requests: Sequence[AcceptRequest]) -> bool:
    """False = somebody else made one of them just now: it has to be locked, and all decided again."""
    first = {request.new.app_id: request for request in reversed(requests)}
    rows = [_app_row(request.new, request.now.at) for _, request in sorted(first.items())]
    return not rows or _NEW_APPS.run(tx, rows) == len(rows)


def _padded(wanted: Sequence[_T]) -> list[_T]:
    """With its last one to a power of two: eight texts to compile for up to 128 requests."""
    return [*wanted, *[wanted[-1]] * ((1 << (len(wanted) - 1).bit_length()) - len(wanted))]


@cache
def _locked_apps(count: int) -> Prepared:
    wanted = [sa.bindparam(f"a_{place}", type_=sa.Text) for place in range(count)]
    query = sa.select(apps.c.app_id, apps.c.api).where(apps.c.app_id.in_(wanted)).order_by(apps.c.app_id)
    return Prepared(query.with_for_update(key_share=True))


def _taken(tx: Tx, asked: Sequence[AcceptRequest]) -> set[Identity]:
    """The identities among those asked for that builds have already; a pair of ids counts for either API's builds."""
    pairs = [request.pair for request in asked if request.new.api is Api.NEW]
    uuids = [request.new.build_uuid for request in asked if request.new.api is Api.LEGACY]
    taken: set[Identity] = set(_taken_pairs(tx, pairs)) if pairs else set()
    if uuids:
        known = sa.select(builds.c.build_uuid).where(builds.c.build_uuid.in_(uuids))
        taken.update(tx.execute(known).scalars())
    return taken


def _taken_pairs(tx: Tx, wanted: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    ids = _padded(wanted)
    values = {f"{name}_{place}": text for place, pair in enumerate(ids) for name, text in zip("ab", pair, strict=True)}
    return ((app_id, build_id) for app_id, build_id in _those_of(len(ids)).ask(tx, values))


@cache
def _those_of(pairs: int) -> Prepared:
    wanted = [
        sa.tuple_(sa.bindparam(f"a_{place}", type_=sa.Text), sa.bindparam(f"b_{place}", type_=sa.Text))
        for place in range(pairs)
    ]
    query = sa.select(builds.c.app_id, builds.c.build_id)
    return Prepared(query.where(sa.tuple_(builds.c.app_id, builds.c.build_id).in_(wanted)))


def _queue_full(queue_limit: int) -> QueueFullError:
    return QueueFullError(f"{queue_limit} builds are waiting already; try again later.", headers={"Retry-After": "30"})


def _repeated(tx: Tx, request: AcceptRequest) -> Accepted | ShuttleError:
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
    _NEW_BUILDS.run(tx, [_row(request.new, build) for request, build in fresh])
    early = [request.new.build_uuid for request, _ in fresh if request.new.source_sha256 is not None]
    if early:
        forget_uploads(tx, early)
    numbered = [request.new for request, _ in fresh if request.new.api is Api.LEGACY]
    if numbered:
        count_on(tx, numbered)
    for table, parties_of in ((receivers, _receivers_of), (sinks, _sinks_of)):
        rows = [
            {"build_uuid": request.new.build_uuid, "place": place, "kind": party.kind, "host": party.host}
            | {"target": party.target, "wire": party.wire, "state": "live"}
            for request, _ in fresh
            for place, party in enumerate(parties_of(request))
        ]
        if rows:
            tx.execute(table.insert(), rows)
    emit_first(tx, [(build, bool(request.new.receivers)) for request, build in fresh])


def _receivers_of(request: AcceptRequest) -> Sequence[NewEndpoint]:
    return request.new.receivers


def _sinks_of(request: AcceptRequest) -> Sequence[NewEndpoint]:
    return request.new.sinks


def _recorded(new: NewBuild, now: Moment) -> Build:
    """The row that was just inserted, without reading it again; its position is known to the table alone."""
    return Build(
        api=new.api,
        build_uuid=new.build_uuid,
        app_id=new.app_id,
        build_id=new.build_id,
        pipeline=new.pipeline,
        metadata_json=new.metadata_json,
        human_readable_info=new.human_readable_info,
        labels=new.labels,
        destinations=new.destinations,
        source_url=new.source_url,
        source=SourceFacts(new.source_sha256, new.source_bytes, new.source_content_type),
        timeout_seconds=new.timeout_seconds,
        accepted_at=now.at,
        deadline_at=now.steady + timedelta(seconds=new.deadline_seconds),
        controller=new.controller,
        job_name=new.job_name,
    )


def free_uuid(tx: Tx, wanted: str | None) -> str:
    """`wanted` if no build has it, else a new version 4 uuid."""
    if wanted is not None and find_build(tx, wanted) is None:
        return wanted
    return str(uuid.uuid4())


_APP_COLUMNS = ("app_id", "api", "job_name", "controller", "created_at")
_NEW_APPS = Prepared(insert(apps).inline().on_conflict_do_nothing(index_elements=["app_id"]), _APP_COLUMNS)


def _app_row(new: NewBuild, now: datetime) -> dict[str, Any]:
    row = {"app_id": new.app_id, "api": new.api.value, "job_name": new.job_name}
    return row | {"controller": new.controller, "created_at": now}


_FROM_REQUEST = (
    "build_uuid",
    "app_id",
    "build_id",
    "plan",
    "token_digest",
    "request_fingerprint",
    "metadata_json",
    "human_readable_info",
    "labels",
    "pipeline",
    "destinations",
    "source_url",
    "source_sha256",
    "source_bytes",
    "source_content_type",
    "timeout_seconds",
)
_DERIVED = ("api", "serial_key", "state", "accepted_at", "deadline_at", "sequence")
_NEW_BUILDS = Prepared(builds.insert().inline(), (*_FROM_REQUEST, *_DERIVED))


def _row(new: NewBuild, build: Build) -> dict[str, Any]:
    row = {name: getattr(new, name) for name in _FROM_REQUEST}
    row |= {"api": new.api.value, "serial_key": new.app_id, "state": build.state.value, "sequence": 1}
    return row | {"accepted_at": build.accepted_at, "deadline_at": build.deadline_at}


def target_bytes(url: str, headers: dict[str, str]) -> bytes:
    """What is sealed of a receiver or sink."""
    return json.dumps({"url": url, "headers": headers}).encode()
