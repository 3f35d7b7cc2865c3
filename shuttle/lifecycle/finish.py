"""Finish a build: record its final state together with the size and the checksum of its complete log."""

import asyncio
from collections.abc import Sequence
from hashlib import sha256

import structlog

from shuttle.build import Build, Ending, FinalLog, StopCause
from shuttle.endings import STOPPED_STATUS, reason_line
from shuttle.errors import JenkinsNotFoundError, UnavailableError
from shuttle.lifecycle import Services
from shuttle.lifecycle.backoff import Backoff
from shuttle.lifecycle.build_spec import BuildSpec
from shuttle.logs.spool import SpoolError
from shuttle.logs.transform import transform_in_thread
from shuttle.metrics import count_end
from shuttle.store.claims import claims_of
from shuttle.store.transitions import finish_build

log = structlog.get_logger()

# The longest wait for Jenkins' console: it explains the ending, but the final status must not wait long for it.
_CONSOLE_SECONDS = 10.0
_ENDED_BY_JENKINS = frozenset({"aborted_in_jenkins", "lost_in_jenkins"})
# Reasons that need no explanation from the console.
_EXPLAINED = frozenset({None, StopCause.STOPPED, StopCause.SPOOL_UNWRITABLE})


async def finish(build: Build, spec: BuildSpec, ending: Ending, services: Services) -> Build | None:
    """Record the final state, and size and checksum of the log with its ending, which `archive_log` appends."""
    ended = await services.database.run(
        finish_build, build.build_uuid, ending, await _final_log(build, spec, ending, services)
    )
    count_end(ended)
    services.logs.forget(build.build_uuid)
    return ended


async def _final_log(build: Build, spec: BuildSpec, ending: Ending, services: Services) -> FinalLog | None:
    """The complete log's facts; None = it consists of the preamble and the reason line, or cannot be read."""
    console = await _console_lines(build, ending, services)
    backoff = Backoff(build.build_uuid, services)
    try:
        build_log = await backoff.until(lambda: services.logs.open(build.build_uuid), "the log")
        if build_log is not None:
            await backoff.until(build_log.close, "the database")
            await backoff.until(build_log.keep, "the object store")
            return await build_log.final((console, reason_line(ending).decode()))
    except SpoolError as error:
        log.warning("a log is lost: its spool cannot be used", build_uuid=build.build_uuid, error=error.message)
    return await _log_without_agent(build, spec, console, ending) if console else None


async def _log_without_agent(build: Build, spec: BuildSpec, console: str, ending: Ending) -> FinalLog:
    """The log of a build that no step claimed: preamble, Jenkins' console, reason line."""
    preamble = build.preamble.encode()
    shown = await transform_in_thread(console, spec.log_rules, written_bytes=len(preamble))
    added = shown + reason_line(ending).decode()
    text = preamble + added.encode()
    return FinalLog(len(text), sha256(text).hexdigest(), added)


async def _console_lines(build: Build, ending: Ending, services: Services) -> str:
    """The end of Jenkins' console (a lost agent, a Groovy error); "" if a supervisor explained the build's end."""
    if build.build_number is None or ending.reason in _EXPLAINED:
        return ""
    if services.settings.shuttle_jenkins_console == "full" and build.claimed_at is not None:
        return ""  # the console's end is the build's own output
    claims = await services.database.run(claims_of, build.build_uuid)
    if _is_explained(build, ending, [claim.exit_status for claim in claims if claim.voided_at is None]):
        return ""
    try:
        async with asyncio.timeout(_CONSOLE_SECONDS):
            console = await services.jenkins_of(build).console_tail(build.job_name, build.build_number)
    except (UnavailableError, JenkinsNotFoundError, TimeoutError) as error:
        log.info("Jenkins did not show its console", build_uuid=build.build_uuid, error=str(error) or "timed out")
        return ""
    return console.decode()


def _is_explained(build: Build, ending: Ending, exit_statuses: Sequence[int | None]) -> bool:
    """Whether the supervisors explained the end; None = that of a step or branch has not made its last call.

    One that was stopped, because Jenkins had ended its step, explained nothing.
    """
    if not exit_statuses or None in exit_statuses:
        return False
    if build.report_reason is None and ending.reason in _ENDED_BY_JENKINS:
        return False
    if build.report_reason is None and ending.reason == "build_failed":
        return any(status != STOPPED_STATUS for status in exit_statuses)
    return True
