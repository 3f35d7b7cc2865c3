"""Ends the record of a platform when the platform's branch of the pipeline ends."""

from shuttle.build import STOP_ENDINGS, Build, Ending, State
from shuttle.endings import STOPPED_STATUS
from shuttle.store.platforms import open_platform, platform_records
from shuttle.store.record_ends import record_outcome
from shuttle.store.transitions import finish_build
from shuttle.store.tx import Tx


def end_platform(tx: Tx, build: Build, platform: str, exit_status: int) -> None:
    """End the record of the platform with the result of its branch, unless the record has ended already."""
    child = open_platform(tx, build, platform)
    if child is None:
        return
    ending = _ending(build, child, exit_status)
    finish_build(tx, child.build_uuid, ending)
    record_outcome(tx, child, ending)


def _ending(build: Build, child: Build, exit_status: int) -> Ending:
    if exit_status == 0:
        return Ending(State.SUCCEEDED)
    if build.stop_cause is not None and exit_status == STOPPED_STATUS:
        return STOP_ENDINGS[build.stop_cause]
    if child.report_reason is not None:
        return Ending(State.FAILED, child.report_reason, child.report_message)
    return Ending(State.FAILED, "build_failed", f"The branch ended with exit status {exit_status}.")


def failed_platforms(tx: Tx, build: Build) -> list[str]:
    """The platforms whose records have not succeeded."""
    records = platform_records(tx, build)
    return [name for name in build.platforms if name not in records or records[name].state is not State.SUCCEEDED]
