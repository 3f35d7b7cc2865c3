"""Lists and counts of builds for the build state record."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import NamedTuple

import sqlalchemy as sa

from shuttle.build import FINAL, Build, State
from shuttle.store.builds import build_from, has_state, newest_positions, whole_builds
from shuttle.store.prepared import Prepared
from shuttle.store.references import UNSPECIFIED
from shuttle.store.tables import PLATFORM_LABEL, builds
from shuttle.store.tx import Tx

_UNENDED = frozenset(State) - FINAL
# The states of a build by the words that the field `status` of the build state API has for them.
STATES: Mapping[str, frozenset[State]] = {
    "pending": _UNENDED - {State.RUNNING},
    "running": frozenset({State.RUNNING}),
    "completed": frozenset({State.SUCCEEDED}),
    "failed": FINAL - {State.SUCCEEDED},
}


class BuildFilter(NamedTuple):
    """Which builds are listed; None = all."""

    app_id: str | None = None
    status: str | None = None
    platform: str | None = None


class Counts(NamedTuple):
    """How many builds there are by status, platform and state code."""

    by_status: Mapping[str, int]
    by_platform: Mapping[str, int]
    by_state: Mapping[int, int]


def page_of_records(tx: Tx, which: BuildFilter, *, skip: int, limit: int) -> list[Build]:
    """The builds, the newest first."""
    query = _page(
        which.status,
        of_app=which.app_id is not None,
        of_platform=which.platform is not None,
        unspecified=which.platform == UNSPECIFIED,
    )
    given = {name: value for name, value in which._asdict().items() if value is not None and name != "status"}
    values = {**given, "skip": skip, "limit": limit, "read": skip + limit}
    return [build_from(row) for row in query.fetch_wide(tx, values)]


@cache
def _page(status: str | None, *, of_app: bool, of_platform: bool, unspecified: bool) -> Prepared:
    """The query for a page of builds: the first `limit` after `skip` of those that `read` limits, if it has a limit."""
    states = None if status is None else STATES[status]
    if not of_platform and (of_app or (states is not None and states <= FINAL)):
        app_id = sa.bindparam("app_id", type_=sa.Text) if of_app else None
        read = sa.bindparam("read", type_=sa.BigInteger)
        query = sa.select(newest_positions(app_id, states, read).subquery().c.position)
    else:
        # Without an app and a platform, unended builds have no index in this order. Reading 100,000 builds in their own
        # order takes 40 ms, sorting as many records 90 more.
        conditions = _conditions(states, of_app=of_app, of_platform=of_platform, unspecified=unspecified)
        query = sa.select(builds.c.position).where(*conditions)
    newest = query.order_by(query.selected_columns.position.desc())
    page = newest.offset(sa.bindparam("skip", type_=sa.BigInteger)).limit(sa.bindparam("limit", type_=sa.BigInteger))
    return whole_builds(page)


def _conditions(
    states: Collection[State] | None, *, of_app: bool, of_platform: bool, unspecified: bool
) -> Iterator[sa.ColumnElement[bool]]:
    if of_app:
        yield builds.c.app_id == sa.bindparam("app_id")
    if states is not None:
        yield has_state(sorted(state.value for state in states))
    if of_platform:
        named = sa.bindparam("platform", type_=sa.Text) == PLATFORM_LABEL
        yield sa.or_(named, PLATFORM_LABEL.is_(None), PLATFORM_LABEL == "") if unspecified else named


def count_records(tx: Tx) -> Counts:
    """Count all builds.

    Their table is read once, and on SQLite the platforms are counted in their index: with 100,000 builds this takes
    0.19 s, in which SQLite does nothing else.
    """
    by_state, codes = Counter[str](), Counter[int]()
    for state, code, count in tx.execute(_BY_STATE_AND_CODE):
        by_state[state] += count
        codes[code or 0] += count
    by_status = {status: sum(by_state[state.value] for state in states) for status, states in STATES.items()}
    platforms = {name: count for name, count in tx.execute(_BY_PLATFORM) if name}
    # PostgreSQL executes the second query on newer rows than the first one.
    if (unspecified := by_state.total() - sum(platforms.values())) > 0:
        platforms[UNSPECIFIED] = platforms.get(UNSPECIFIED, 0) + unspecified
    return Counts(by_status, platforms, dict(codes))


_BY_STATE_AND_CODE = sa.select(builds.c.state, builds.c.state_code, sa.func.count()).group_by(
    builds.c.state, builds.c.state_code
)
_BY_PLATFORM = (
    sa.select(PLATFORM_LABEL, sa.func.count())
    .select_from(builds)
    .where(PLATFORM_LABEL.is_not(None))
    .group_by(PLATFORM_LABEL)
)
