"""The ids that new builds may not take, because other builds or uploads have them."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import sqlalchemy as sa

from shuttle.build import Api
from shuttle.errors import ConflictError
from shuttle.store.column_types import Instant
from shuttle.store.new_build import NewBuild
from shuttle.store.pending_uploads import held_since_of, held_uploads, uploads_under_way
from shuttle.store.platforms import recorded_pairs
from shuttle.store.prepared import Prepared, padded
from shuttle.store.tables import builds
from shuttle.store.tx import Tx


class Uuids(NamedTuple):
    """The uuids that requests may not take: those of builds, and those under which a source is being stored."""

    recorded: set[str]
    uploading: set[str]


def taken_pairs(tx: Tx, requests: Sequence[NewBuild]) -> set[tuple[str, str]]:
    """Those pairs of ids of requests to the new API that builds of either API have already."""
    wanted = [request.pair for request in requests if request.api is Api.NEW]
    if not wanted:
        return set()
    pairs = padded(wanted)
    values = {f"{name}_{index}": id_ for index, pair in enumerate(pairs) for name, id_ in zip("ab", pair, strict=True)}
    return {(app_id, build_id) for app_id, build_id in _builds_of_pairs(len(pairs)).fetch(tx, values)}


def taken_by_platforms(tx: Tx, requests: Sequence[NewBuild]) -> set[tuple[str, str]]:
    """Those pairs of ids of the requests' platforms that builds have already."""
    pairs = [pair for request in requests for pair in request.pairs_of_children]
    return recorded_pairs(tx, pairs) if pairs else set()


def taken_child(request: NewBuild, taken: set[tuple[str, str]]) -> ConflictError | None:
    """The conflict of the first platform whose ids are taken."""
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


def uuids_in_use(tx: Tx, requests: Sequence[NewBuild]) -> Uuids:
    """Those uuids that callers have chosen and that are in use; the other uuids are random."""
    in_use = Uuids(set(), set())
    chosen = [request.build_uuid for request in requests if request.chose_uuid]
    if chosen:
        uuids = padded(chosen)
        values = {f"u_{index}": build_uuid for index, build_uuid in enumerate(uuids)}
        held_since = {"held_since": held_since_of(tx)}
        for build_uuid, is_recorded in _owners_of_uuids(len(uuids)).fetch(tx, values | held_since):
            (in_use.recorded if is_recorded else in_use.uploading).add(build_uuid)
    return in_use


@cache
def _owners_of_uuids(count: int) -> Prepared:
    wanted = [sa.bindparam(f"u_{index}", type_=sa.Text) for index in range(count)]
    recorded = sa.select(builds.c.build_uuid, sa.true()).where(builds.c.build_uuid.in_(wanted))
    uploading = uploads_under_way(wanted, sa.bindparam("held_since", type_=Instant)).add_columns(sa.false())
    return Prepared(recorded.union_all(uploading))


def lost_uploads(tx: Tx, requests: Sequence[NewBuild]) -> set[str]:
    """The uuids whose stored source another request may have replaced, because the upload took too long."""
    sources = {new.build_uuid: new.source_sha256 for new in requests if new.source_sha256}
    return sources.keys() - held_uploads(tx, sources) if sources else set()
