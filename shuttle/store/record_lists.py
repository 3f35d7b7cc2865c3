"""Lists and counts of builds for the build state record."""

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

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
        yield sa.or_(named, PLATFORM_LABEL.is_(None)) if unspecified else named


def count_records(tx: Tx) -> Counts:
    """Count all builds."""
    by_state = dict(_counted(tx, builds.c.state))
    by_status = {status: sum(by_state.get(state.value, 0) for state in states) for status, states in STATES.items()}
    platforms = {str(name or UNSPECIFIED): count for name, count in _counted(tx, PLATFORM_LABEL)}
    codes = {int(code or 0): count for code, count in _counted(tx, sa.func.coalesce(builds.c.state_code, 0))}
    return Counts(by_status, platforms, codes)


def _counted(tx: Tx, column: sa.ColumnElement[Any]) -> list[tuple[Any, int]]:
    query = sa.select(column, sa.func.count()).select_from(builds).group_by(column)
    return [(row[0], row[1]) for row in tx.execute(query)]
