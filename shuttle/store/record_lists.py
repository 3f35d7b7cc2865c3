"""Lists and counts of builds for the build state record."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from shuttle.build import FINAL, Build, State
from shuttle.store.builds import builds_at, newest_positions
from shuttle.store.tables import builds
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


_PLATFORM = builds.c.labels["platform"].as_string()


def page_of_records(tx: Tx, which: BuildFilter, *, skip: int, limit: int) -> list[Build]:
    """The builds, the newest first."""
    states = None if which.status is None else STATES[which.status]
    if which.platform is None and (which.app_id is not None or (states is not None and states <= FINAL)):
        query = sa.select(newest_positions(which.app_id, states, skip + limit).subquery().c.position)
    else:
        # Without an app, unended builds have no index in this order, and nothing has one by platform. Reading 100,000
        # builds in their own order takes 40 ms, sorting as many records 90 more.
        query = sa.select(builds.c.position).where(*_conditions(which, states))
    newest = query.order_by(query.selected_columns.position.desc()).offset(skip).limit(limit)
    return builds_at(tx, list(tx.execute(newest).scalars()))


def _conditions(which: BuildFilter, states: Collection[State] | None) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if which.app_id is not None:
        found.append(builds.c.app_id == which.app_id)
    if states is not None:
        found.append(builds.c.state.in_(sorted(state.value for state in states)))
    if which.platform is not None:
        found.append(which.platform == _PLATFORM)
    return found


def count_records(tx: Tx) -> Counts:
    """Count all builds."""
    by_state = dict(_counted(tx, builds.c.state))
    by_status = {status: sum(by_state.get(state.value, 0) for state in states) for status, states in STATES.items()}
    platforms = {str(name or "unspecified"): count for name, count in _counted(tx, _PLATFORM)}
    codes = {int(code or 0): count for code, count in _counted(tx, sa.func.coalesce(builds.c.state_code, 0))}
    return Counts(by_status, platforms, codes)


def _counted(tx: Tx, column: sa.ColumnElement[Any]) -> list[tuple[Any, int]]:
    return [(row[0], row[1]) for row in tx.execute(sa.select(column, sa.func.count()).group_by(column))]
