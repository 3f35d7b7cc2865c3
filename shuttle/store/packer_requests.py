"""Requests to packer over REST, and their runs: each run is a build."""

import statistics
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from shuttle.build import Build, State
from shuttle.request import PackerRun
from shuttle.store.builds import find_build
from shuttle.store.progress import StageRow, stages_of
from shuttle.store.record_artifacts import ArtifactRow, references_and_files
from shuttle.store.tables import builds, packer_runs
from shuttle.store.tx import Tx

# The expected duration of a build is the median of this many earlier builds of its app.
_EXPECTED_BY = 5


@dataclass(frozen=True, slots=True)
class RecordedRun(PackerRun):
    """A run with the uuid of its build."""

    build_uuid: str


class RunState(NamedTuple):
    """What the answer about a run shows.

    `expected_seconds` is the usual duration of such a build; None = unknown, or the build has ended.
    """

    run: RecordedRun
    build: Build
    stages: list[StageRow]
    artifacts: list[ArtifactRow]
    expected_seconds: float | None


_COLUMNS = [packer_runs.c[name] for name in RecordedRun.__dataclass_fields__]


def runs_of(tx: Tx, request_id: str) -> list[RecordedRun]:
    """The runs of the request, the first one first; none if the request is unknown."""
    query = sa.select(*_COLUMNS).where(packer_runs.c.request_id == request_id).order_by(packer_runs.c.run)
    return [RecordedRun(*row) for row in tx.execute(query)]


def newest_requests(tx: Tx, limit: int) -> list[str]:
    """The ids of the newest requests, the oldest of them first; each has the place of the first run that is kept."""
    earlier = packer_runs.alias()
    has_earlier = sa.exists().where(earlier.c.request_id == packer_runs.c.request_id, earlier.c.run < packer_runs.c.run)
    query = sa.select(packer_runs.c.request_id).where(~has_earlier)
    newest = tx.execute(query.order_by(packer_runs.c.position.desc()).limit(limit)).scalars()
    return list(newest)[::-1]


def build_of_run(tx: Tx, request_id: str, run: int) -> tuple[RecordedRun, Build] | None:
    """The run with its build; None = there is no such run."""
    wanted = (packer_runs.c.request_id == request_id, packer_runs.c.run == run)
    row = tx.execute(sa.select(*_COLUMNS).where(*wanted)).first()
    if row is None:
        return None
    found = RecordedRun(*row)
    build = find_build(tx, found.build_uuid)
    return None if build is None else (found, build)


def state_of_run(tx: Tx, request_id: str, run: int) -> RunState | None:
    """Everything about the run; None = there is no such run."""
    found = build_of_run(tx, request_id, run)
    if found is None:
        return None
    build = found[1]
    expected_seconds = None if build.state.final else _expected_seconds(tx, build.app_id)
    return RunState(
        *found, stages_of(tx, build.build_uuid), references_and_files(tx, build.build_uuid), expected_seconds
    )


def _expected_seconds(tx: Tx, app_id: str) -> float | None:
    """The median duration of the app's last successful builds, from the start of staging to the end."""
    ended = (builds.c.finished_at.is_not(None), builds.c.app_id == app_id, builds.c.state == State.SUCCEEDED.value)
    query = sa.select(builds.c.staging_at, builds.c.finished_at).where(*ended)
    rows = tx.execute(query.order_by(builds.c.position.desc()).limit(_EXPECTED_BY)).all()
    durations = [(row.finished_at - row.staging_at).total_seconds() for row in rows if row.staging_at is not None]
    return statistics.median(durations) if durations else None
