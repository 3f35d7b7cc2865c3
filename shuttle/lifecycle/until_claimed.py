"""Watch a triggered build in Jenkins until a step claims it, or until it is over, cancelled or lost without a claim."""

from dataclasses import dataclass

import structlog

from shuttle.build import STOP_ENDINGS, Build, Ending, State
from shuttle.endings import JenkinsResult, ending_by_jenkins, read_result
from shuttle.errors import JenkinsNotFoundError
from shuttle.lifecycle import Services
from shuttle.lifecycle.backoff import Backoff, NotFoundTimer
from shuttle.lifecycle.claim_race import unless_claimed
from shuttle.lifecycle.trigger import find_in_jenkins
from shuttle.store.transitions import become_queued, record_waiting, search_again, undo_trigger

log = structlog.get_logger()

# The pauses between two polls grow from the first to the longest: a queue item becomes a build within 8 ms (measured),
# and later the claim itself ends the wait.
_FIRST_POLL_SECONDS = 0.02
_LONGEST_POLL_SECONDS = 2.0
_CANCELLED = Ending(State.FAILED, "cancelled_in_jenkins", "Somebody removed the build from Jenkins' queue.")


@dataclass(frozen=True, slots=True)
class Claimed:
    """A step has claimed the build; `build` is the claimed row."""

    build: Build


@dataclass(frozen=True, slots=True)
class TriggerAgain:
    """Jenkins lost the build at its start; the row is `staging` again."""


async def until_claimed_or_over(build: Build, services: Services) -> Claimed | TriggerAgain | Ending:
    """Wait until a step claims the build, or until it cannot be claimed any more."""
    pause_seconds = _FIRST_POLL_SECONDS
    not_found, ghost = NotFoundTimer(services), NotFoundTimer(services)
    backoff = Backoff(build.build_uuid, services, [not_found, ghost])
    with services.signals.listen(build.build_uuid) as listener:
        while (
            outcome := await backoff.until(lambda: _outcome_so_far(build, services, not_found, ghost), "Jenkins")
        ) is None:
            await listener.wait(pause_seconds)
            pause_seconds = min(pause_seconds * 1.5, _LONGEST_POLL_SECONDS)
    return outcome


async def _outcome_so_far(
    build: Build, services: Services, not_found: NotFoundTimer, ghost: NotFoundTimer
) -> Claimed | TriggerAgain | Ending | None:
    """Read the row, then poll Jenkins once; None = keep waiting. Raises UnavailableError."""
    current = await services.current(build)
    if current.claimed_at is not None:
        return Claimed(current)
    if current.state is State.STAGING:  # Jenkins has not confirmed yet that the job of a ghost is deleted
        if current.stop_cause is not None:
            return STOP_ENDINGS[current.stop_cause]  # if it runs after all, its claim is refused
        return await _delete_job(current, services)
    try:
        outcome = await unless_claimed(build.build_uuid, services, _poll_jenkins(current, services, ghost))
    except JenkinsNotFoundError:
        return ending_by_jenkins(current, JenkinsResult.LOST) if not_found.for_too_long() else None
    not_found.reset()
    return outcome


async def _poll_jenkins(
    build: Build, services: Services, ghost: NotFoundTimer
) -> Claimed | TriggerAgain | Ending | None:
    """Poll Jenkins once; None = keep waiting. Raises JenkinsNotFoundError, UnavailableError."""
    if build.build_number is not None:
        return await _poll_build(build, build.build_number, services, ghost)
    if build.queue_item is None:
        if await find_in_jenkins(build, services) is None:
            raise JenkinsNotFoundError("Jenkins has neither a queue item nor a build with this marker.")
        return None
    waiting = (await services.jenkins_of(build).waiting()).get(build.build_uuid)
    if waiting is not None:
        await _show_waiting_for(build, f"Jenkins: {waiting.why}", services)
        return await _unblock_job(build, services, ghost) if waiting.blocked else None
    return await _poll_item(build, build.queue_item, services)


async def _poll_build(
    build: Build, number: int, services: Services, ghost: NotFoundTimer
) -> Claimed | TriggerAgain | Ending | None:
    """Poll a build that has a number and no claim: it is over, a ghost, or waiting for an agent."""
    seen = await services.jenkins_of(build).build(build.job_name, number)
    if not seen.building and seen.result is not None:
        # The claim may have come in while Jenkins answered.
        current = await services.current(build)
        return Claimed(current) if current.claimed_at else ending_by_jenkins(current, read_result(seen.result))
    if not seen.ghost:
        ghost.reset()
        waiting = (await services.jenkins_of(build).waiting_nodes()).get((build.job_name, number))
        why = f"Jenkins: {waiting.why}" if waiting is not None and waiting.why else "the agent to claim the build"
        await _show_waiting_for(build, why, services)
        return None
    if build.stop_cause is not None:
        return STOP_ENDINGS[build.stop_cause]  # if it runs after all, its claim is refused
    if not ghost.for_too_long():
        return None
    return await _trigger_again(build, number, services)


async def _unblock_job(build: Build, services: Services, ghost: NotFoundTimer) -> TriggerAgain | None:
    """If a ghost blocks the job of a queued build, trigger the build again in a new job.

    The ghost was left by an earlier build of the app, for example by one that was stopped.
    """
    newest = await services.jenkins_of(build).newest_build(build.job_name)
    if newest is None or not newest.ghost:
        ghost.reset()
        return None
    if build.stop_cause is not None or not ghost.for_too_long():
        return None
    return await _trigger_again(build, newest.number, services)


async def _trigger_again(build: Build, number: int, services: Services) -> TriggerAgain | None:
    """Remove the ghost `number` and trigger the build again. A ghost blocks its job until the job is deleted.

    None = the build was claimed or stopped meanwhile.
    """
    found = await services.database.run(search_again, build.build_uuid, build.build_number)
    if found is None or found.state is not State.STAGING:
        return None
    log.warning("Jenkins lost a build at its start; recreating its job", build_uuid=build.build_uuid, number=number)
    return await _delete_job(found, services)


async def _delete_job(build: Build, services: Services) -> TriggerAgain | None:
    """Delete the job of a build that is staging again because of a ghost; None = it was claimed or stopped meanwhile.

    Until the deletion is recorded, the row says that Jenkins may have the build. So after a restart its marker is
    searched for: if it is found, the job is deleted then; if not, the job was deleted before.
    """
    async with services.signals.job_lock(build.job_name):
        await services.jenkins_of(build).delete_job(build.job_name)
        await services.database.run(undo_trigger, build.build_uuid)
    current = await services.current(build)
    return TriggerAgain() if current.state is State.STAGING and current.stop_cause is None else None


async def _poll_item(build: Build, queue_item: int, services: Services) -> Ending | None:
    """Poll an item that left the queue: it was cancelled or has started. `executable: null` may mean either."""
    try:
        item = await services.jenkins_of(build).queue_item(queue_item, build.build_uuid)
    except JenkinsNotFoundError:  # items are dropped after 5 minutes and at a restart; the marker finds the build
        if await find_in_jenkins(build, services) is None:
            raise
        return None
    if item.cancelled:
        # Read again: the shuttle itself may have cancelled the item since, for a stop.
        stop_cause = (await services.current(build)).stop_cause
        return STOP_ENDINGS[stop_cause] if stop_cause is not None else _CANCELLED
    if item.number is not None:
        await services.database.run(become_queued, build.build_uuid, number=item.number)
    return None


async def _show_waiting_for(build: Build, why: str, services: Services) -> None:
    """Show why the build is not claimed. For a build that is being stopped, `stop.py` shows why it does not end."""
    if build.stop_cause is None and build.waiting_for != why:
        await services.database.run(record_waiting, build.build_uuid, why)
