"""The stages of a run: those of the source are derived from staging, the others are what the pipeline reports."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from shuttle.build import Build, State
from shuttle.store.progress import StageRow
from shuttle.web.packerd.models import Status

CLONE, CHECKOUT = "GitClone", "GitCheckout"
# The stages of the pipeline `packer-image`, under the same names.
PIPELINE_STAGES = ("RunBerksVendor", "RunPacker", "KitchenTest", "DockerClean")
# The line of the log's preamble about a commit.
_COMMIT = "-----> Source: commit "


@dataclass(frozen=True, slots=True)
class RunStage:
    """A stage. Its log is the part of the build's log that belongs to `row`, if there is one, and then `text`."""

    name: str
    status: Status
    began_at: datetime | None = None
    ended_at: datetime | None = None
    text: str = ""
    row: StageRow | None = None


def status_of(build: Build) -> Status:
    """The status of the run."""
    if build.state.final:
        return "complete" if build.state is State.SUCCEEDED else "failed"
    return "pending" if build.staging_at is None else "running"


def stages_of_run(build: Build, rows: Sequence[StageRow], *, has_branch: bool) -> list[RunStage]:
    """The stages that have begun, in their order."""
    newest = {row.stage: row for row in rows if not row.branch and row.stage in PIPELINE_STAGES}
    reported = [_reported(newest[name], build) for name in PIPELINE_STAGES if name in newest]
    stages = [*_of_source(build, has_branch=has_branch), *reported]
    if build.state.final and not stages:
        stages = [RunStage(CLONE, "failed", build.finished_at, build.finished_at)]
    return [*stages[:-1], *(_with_ending(stage, build) for stage in stages[-1:])]


def _with_ending(last: RunStage, build: Build) -> RunStage:
    """Append the line that says why the build ended. In the log it follows all output, so it is in no stage's part."""
    return replace(last, text=last.text + (build.log_ending or ""))


def _reported(row: StageRow, build: Build) -> RunStage:
    ended_at = row.ended_at or build.finished_at
    if ended_at is None:
        return RunStage(row.stage, "running", row.began_at, row=row)
    succeeded = row.status == "succeeded" if row.ended_at is not None else build.state is State.SUCCEEDED
    return RunStage(row.stage, "complete" if succeeded else "failed", row.began_at, ended_at, row=row)


def _of_source(build: Build, *, has_branch: bool) -> Iterator[RunStage]:
    """The clone and, if the request names a branch, its checkout. Both happen while the source is staged."""
    began_at, ended_at = build.staging_at, build.staged_at or build.finished_at
    if began_at is None:
        return
    clone, checkout = _split(build.preamble) if has_branch else (build.preamble, "")
    if ended_at is None:
        yield RunStage(CLONE, "running", began_at)
    elif build.staged_at is not None:
        yield RunStage(CLONE, "complete", began_at, ended_at, clone)
        if has_branch:
            yield RunStage(CHECKOUT, "complete", ended_at, ended_at, checkout)
    elif has_branch and _failed_at_checkout(build):
        yield RunStage(CLONE, "complete", began_at, ended_at, clone)
        yield RunStage(CHECKOUT, "failed", ended_at, ended_at, checkout)
    else:
        yield RunStage(CLONE, "failed", began_at, ended_at, clone)


def _split(preamble: str) -> tuple[str, str]:
    """The lines about the repository, and those about the commit."""
    lines = preamble.splitlines(keepends=True)
    return (
        "".join(line for line in lines if not line.startswith(_COMMIT)),
        "".join(line for line in lines if line.startswith(_COMMIT)),
    )


def _failed_at_checkout(build: Build) -> bool:
    """Whether the repository was reached, but it has no such ref, or the archive of the commit was refused."""
    reason = build.reason or ""
    return reason == "source_ref_not_found" or reason.startswith("archive_")
