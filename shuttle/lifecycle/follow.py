"""Follow a build in Jenkins: from the queue item to the claim, and from the claim to its end."""

import asyncio

import structlog

from shuttle.build import Build, Ending
from shuttle.endings import (
    JenkinsResult,
    ending_by_jenkins,
    ending_by_platforms,
    ending_by_supervisors,
)
from shuttle.errors import JenkinsNotFoundError, NotOwnerError, UnavailableError
from shuttle.lifecycle import Services
from shuttle.lifecycle.backoff import Backoff
from shuttle.lifecycle.build_log import BuildLog
from shuttle.lifecycle.jenkins_watch import JenkinsWatch
from shuttle.lifecycle.until_claimed import Claimed, TriggerAgain, until_claimed_or_over
from shuttle.store.platform_ends import failed_platforms

log = structlog.get_logger()

_DESCRIBE_SECONDS = 2.0
# When all claimed branches have ended, Jenkins is polled until the build is over. The pauses between these polls grow
# from the first value to the second.
_FIRST_POLL_SECONDS = 0.05
_LONGEST_POLL_SECONDS = 2.0
# The reasons that say that a step failed, but not why.
_FAILURES = {"build_failed", "platform_failed"}


async def follow(build: Build, services: Services) -> Ending | None:
    """Follow the build from queued to its ending; None = Jenkins lost it before a claim, so it is triggered again.

    Every step can be repeated after a takeover. Raises SpoolError if the log cannot be written.
    """
    claimed = Claimed(build) if build.claimed_at is not None else None
    outcome = claimed or await until_claimed_or_over(build, services)
    if isinstance(outcome, TriggerAgain):
        return None
    if isinstance(outcome, Claimed):
        await _describe(outcome.build, services)
        return await _until_ended(outcome.build, services)
    return outcome


async def _until_ended(build: Build, services: Services) -> Ending:
    """Wait for the supervisor's last call. Jenkins is polled as well, but rarely unless the supervisor is silent.

    Raises NotOwnerError if another replica has taken the app.
    """
    backoff = Backoff(build.build_uuid, services)
    build_log = await backoff.until(lambda: services.logs.open(build.build_uuid), "the log")
    if build_log is None:  # another replica has ended the build while this one was frozen
        raise NotOwnerError
    watch = JenkinsWatch(build, build_log, services)
    pause_seconds = _FIRST_POLL_SECONDS
    with services.signals.listen(build.build_uuid) as listener:
        while True:
            if build_log.lost:
                raise NotOwnerError
            if build_log.broken is not None:
                raise build_log.broken
            result = await watch.result_when_silent()
            ending = await _ending_so_far(build, build_log, result, watch, services)
            if ending is not None and watch.aborted_result and ending.reason in _FAILURES:
                # The supervisor stopped because of the abort.
                return ending_by_jenkins(await services.current(build), watch.aborted_result)
            if ending is not None:
                return ending
            if not _all_ended(build_log):
                await listener.wait(watch.next_seconds())
                continue
            # All branches that have claimed the build have ended, but Jenkins has not ended it yet.
            await listener.wait(min(pause_seconds, watch.next_seconds()))
            pause_seconds = min(pause_seconds * 1.5, _LONGEST_POLL_SECONDS)


def _all_ended(build_log: BuildLog) -> bool:
    steps = [claim for claim in build_log.claims if claim.voided_at is None]
    return bool(steps) and all(claim.exit_status is not None for claim in steps)


async def _ending_so_far(
    build: Build, build_log: BuildLog, result: JenkinsResult | None, watch: JenkinsWatch, services: Services
) -> Ending | None:
    """The ending by the exit statuses, or by Jenkins' `result` if an exit status is missing; None = not over."""
    steps = [claim for claim in build_log.claims if claim.voided_at is None]
    if result is None and (not steps or any(claim.exit_status is None for claim in steps)):
        return None
    missing = set(build.platforms) - {claim.branch for claim in steps}
    branched = any(claim.branch for claim in steps) and (missing or not build.platforms)
    if result is None and branched and not await watch.sees_end():
        return None  # another branch may still claim the build
    current = await services.current(build)
    statuses = [claim.exit_status for claim in steps if claim.exit_status is not None]
    failed = await services.database.run(failed_platforms, current) if steps and current.platforms else []
    if not steps or len(statuses) < len(steps):
        return ending_by_jenkins(current, result or JenkinsResult.FAILURE, failed)
    if current.platforms:
        return ending_by_platforms(current, statuses, failed)
    return ending_by_supervisors(current, statuses)


async def _describe(build: Build, services: Services) -> None:
    """Show the caller's `human_readable_info` on the build's page in Jenkins; a failure is only logged."""
    if build.human_readable_info and build.build_number is not None:
        try:
            async with asyncio.timeout(_DESCRIBE_SECONDS):
                await services.jenkins_of(build).describe(build.job_name, build.build_number, build.human_readable_info)
        except (UnavailableError, JenkinsNotFoundError, TimeoutError) as error:
            problem = str(error) or "timed out"
            log.warning("the Jenkins build could not be described", build_uuid=build.build_uuid, error=problem)
