"""Stop a build: record the cause, notify supervisors and Jenkins, and escalate until one of them confirms."""

import asyncio
from datetime import datetime

from shuttle.build import STOP_ENDINGS, Api, Build, Ending, StopCause
from shuttle.errors import ConflictError, JenkinsNotFoundError, JenkinsRefusedError, UnavailableError
from shuttle.jenkins import StopCommand
from shuttle.lifecycle import Services
from shuttle.lifecycle.missing_permissions import MissingPermissions
from shuttle.metrics import count_end
from shuttle.standing import Standing
from shuttle.store.auto_resumes import cancel_resumes
from shuttle.store.builds import find_build
from shuttle.store.permitted import builds_of_pair
from shuttle.store.transitions import record_waiting, request_stop

# Jenkins' commands, in this order. `term` and `kill` signal no process and leave the agent's executor taken, so they
# are sent only where a `stop` had no effect and no supervisor calls.
_ESCALATION = (StopCommand.STOP, StopCommand.TERM, StopCommand.KILL)
# The pause between two checks of a claimed build that is being stopped, and so between two steps of the escalation.
_LOOK_AGAIN_SECONDS = 10.0
# The longest wait for a signal, so that a lost one delays a stop by no more.
_LOST_SIGNAL_SECONDS = 60.0
# How long a build past its deadline waits for a confirmation, as a multiple of SHUTTLE_STOP_GRACE_SECONDS.
_DEADLINE_GRACES = 3


async def stop_pair(app_id: str, build_id: str, standing: Standing, services: Services) -> Api | None:
    """Record the stop of every build of the pair that the caller may stop; one that was never triggered ends at once.

    The automatic resume of a failed build is cancelled; that counts as a stop, too.
    Returns the API of the newest of these builds; None = none was stopped. Exception: if the newest is of the older
    API, that API is returned even if nothing was stopped, because its clients break on any other answer.

    Raises:
        TokenNeededError: the caller is anonymous, and the app or all of these builds belong to the new API.
        ConflictError: the build is the record of a platform, and has not ended.
    """
    builds = await services.database.run(builds_of_pair, app_id, build_id, standing)
    for build in builds:
        if build.of_platform and not build.state.final:
            raise ConflictError("This is one platform of a build; stop that build, which stops all of its platforms.")
    stopped = [await _stop(build.build_uuid, services) for build in builds]
    newest = builds[-1].api if builds else None
    return newest if newest is Api.LEGACY or any(stopped) else None


async def _stop(build_uuid: str, services: Services) -> bool:
    if await stop_build(build_uuid, StopCause.STOPPED, services) is not None:
        return True
    return await services.database.run(cancel_resumes, [build_uuid])


async def stop_build(build_uuid: str, cause: StopCause, services: Services) -> Build | None:
    """Record `cause`; a build that was never triggered ends at once. None = the build was final already."""
    build = await services.database.run(request_stop, build_uuid, cause)
    count_end(build)
    return build


async def enforce(build_uuid: str, services: Services) -> Ending | None:
    """Wait for a stop, the time limit or the deadline, then stop the build. Runs at the same time as the flow of `run`.

    Returns None once the row is final, or an ending once the deadline has passed and neither Jenkins nor a supervisor
    has confirmed the stop in time. A stop ends a build that was never triggered, at once or a little later.
    """
    clock = asyncio.get_running_loop().time
    stopped_at: float | None = None
    accepted = 0  # commands that Jenkins accepted
    missing = MissingPermissions(build_uuid)
    with services.signals.listen(build_uuid) as listener:
        while True:
            build = await services.database.run(find_build, build_uuid)
            if build is None or build.state.final:
                return None
            cause = build.stop_cause or _overdue(build, services.clock.steady())
            if cause is None:
                await listener.wait(_seconds_to_next_limit(build, services.clock.steady()))
                continue
            if build.stop_cause is None or build.trigger_attempted_at is None:
                build = await stop_build(build_uuid, cause, services) or build
            stopped_at = clock() if stopped_at is None else stopped_at
            services.logs.stop(build_uuid, cause)
            if not accepted or _is_ignored(build, clock() - stopped_at, services):
                accepted += await _stop_in_jenkins(build, _ESCALATION[min(accepted, 2)], services, missing)
            if _given_up(build, clock() - stopped_at, services):
                return STOP_ENDINGS[StopCause.DEADLINE]
            await listener.wait(_next_look_seconds(build, accepted, services))


def _is_ignored(build: Build, stopping_seconds: float, services: Services) -> bool:
    """Whether the last command had no effect in time and no supervisor calls."""
    silent = _silent_seconds(build, services)
    if silent is None:
        return stopping_seconds >= services.settings.shuttle_stop_grace_seconds
    return silent >= services.settings.shuttle_agent_silence_seconds


def _next_look_seconds(build: Build, accepted: int, services: Services) -> float:
    if not accepted:
        return 0.5
    if build.claimed_at is None:
        return services.settings.shuttle_stop_grace_seconds
    return min(_LOOK_AGAIN_SECONDS, services.settings.shuttle_agent_silence_seconds)


def _overdue(build: Build, now: datetime) -> StopCause | None:
    if build.time_limit_at is not None and now >= build.time_limit_at:
        return StopCause.TIMEOUT
    return StopCause.DEADLINE if now >= build.deadline_at else None


def _seconds_to_next_limit(build: Build, now: datetime) -> float:
    limits = [build.deadline_at, *([build.time_limit_at] if build.time_limit_at is not None else [])]
    return min(max((min(limits) - now).total_seconds(), 0.0), _LOST_SIGNAL_SECONDS)


def _given_up(build: Build, stopping_seconds: float, services: Services) -> bool:
    """Whether the deadline has passed, nobody confirmed the stop in time, and no supervisor has called lately.

    The cause of the stop does not matter: a build that Jenkins will never confirm would keep its slot for good.
    """
    if services.clock.steady() < build.deadline_at:
        return False
    grace_seconds = services.settings.shuttle_stop_grace_seconds * _DEADLINE_GRACES
    silent = _silent_seconds(build, services)
    if silent is not None and silent < services.settings.shuttle_agent_silence_seconds:
        return False
    return stopping_seconds >= grace_seconds


def _silent_seconds(build: Build, services: Services) -> float | None:
    """The time since a supervisor's newest call; None = the build is not claimed, or its log is not open here."""
    build_log = services.logs.find(build.build_uuid)
    if build.claimed_at is None or build_log is None:
        return None
    return asyncio.get_running_loop().time() - build_log.last_call_at


async def _stop_in_jenkins(build: Build, command: StopCommand, services: Services, missing: MissingPermissions) -> bool:
    """Send one command. True = Jenkins accepted it. False = send it again, always if the build has no number yet."""
    try:
        if build.build_number is not None:
            await services.jenkins_of(build).stop(build.job_name, build.build_number, command)
        elif build.queue_item is not None:
            await services.jenkins_of(build).cancel(build.queue_item, build.build_uuid)
            return False
        else:
            return False
    except JenkinsRefusedError as error:
        missing.log(error)
        if build.waiting_for != error.message:
            await services.database.run(record_waiting, build.build_uuid, error.message)
        return False
    except (UnavailableError, JenkinsNotFoundError):
        return False
    return True
