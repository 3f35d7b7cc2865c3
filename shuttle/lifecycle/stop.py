"""Stop: record it, then make Jenkins stop the build: stop, then term, then kill, until Jenkins confirms."""

from datetime import datetime

from shuttle.build import STOP_ENDINGS, Api, Build, Ending, StopCause
from shuttle.errors import JenkinsNotFoundError, UnavailableError
from shuttle.lifecycle import Ports

# A script that ignores SIGTERM outlived two stops for 10 s and fell to term in 1.5 s (Jenkins 2.263).
_ESCALATION = ("stop", "term", "kill")
# What a signal that was lost may cost.
_LOST_SIGNAL_SECONDS = 60.0
# How long a deadline waits for a Jenkins that cannot be reached, as a multiple of SHUTTLE_STOP_GRACE_SECONDS.
_DEADLINE_GRACES = 3


async def stop_pair(app_id: str, build_id: str, ports: Ports) -> Api | None:
    """Record the stop of every build that the ids name; one that Jenkins does not have ends at once.

    The API that the newest of them came by; None = there was nothing to stop, which to the older API's clients is a
    stop, too, where the newest build is theirs (they break on anything else).
    """
    builds = await ports.store.builds_of(app_id, build_id)
    stopped = [await stop_build(build.build_uuid, StopCause.STOPPED, ports) for build in builds]
    newest = builds[-1].api if builds else None
    return newest if newest is Api.LEGACY or any(stopped) else None


async def stop_build(build_uuid: str, cause: StopCause, ports: Ports) -> Build | None:
    """Record `cause`, which is the end of a build that Jenkins cannot have. None = it was final already."""
    build = await ports.store.request_stop(build_uuid, cause)
    tell_of_stop(build_uuid, ports)
    return build


def tell_of_stop(build_uuid: str, ports: Ports) -> None:
    """Wake whoever has to see a recorded stop through."""
    ports.signals.wake(build_uuid)
    ports.signals.wake_worker(build_uuid)


async def enforce(build_uuid: str, ports: Ports) -> Ending | None:
    """Beside `run`: watch for a stop, the time limit and the deadline, and see each through in Jenkins.

    Returns None when the row is final (a stop of a build that Jenkins does not have ends it without `run`), an ending
    when the deadline has passed and Jenkins could not be made to confirm anything since.
    """
    attempts = 0
    stopped_at: datetime | None = None
    with ports.signals.listen(build_uuid) as listener:
        while True:
            build = await ports.store.build(build_uuid)
            if build is None or build.state.final:
                return None
            cause = build.stop_cause or _overdue(build, ports.now())
            if cause is None:
                await listener.wait(_seconds_to_next_limit(build, ports.now()))
                continue
            if build.stop_cause is None:
                build = await stop_build(build_uuid, cause, ports) or build
            stopped_at = stopped_at or ports.now()
            attempts += await _stop_in_jenkins(build, _ESCALATION[min(attempts, 2)], ports)
            if cause is StopCause.DEADLINE and _given_up(stopped_at, ports):
                return STOP_ENDINGS[StopCause.DEADLINE]
            await listener.wait(ports.settings.shuttle_stop_grace_seconds if attempts else 0.5)


def _overdue(build: Build, now: datetime) -> StopCause | None:
    if build.time_limit_at is not None and now >= build.time_limit_at:
        return StopCause.TIMEOUT
    return StopCause.DEADLINE if now >= build.deadline_at else None


def _seconds_to_next_limit(build: Build, now: datetime) -> float:
    limits = [build.deadline_at, *([build.time_limit_at] if build.time_limit_at is not None else [])]
    return min(max((min(limits) - now).total_seconds(), 0.0), _LOST_SIGNAL_SECONDS)


def _given_up(stopped_at: datetime, ports: Ports) -> bool:
    grace_seconds = ports.settings.shuttle_stop_grace_seconds * _DEADLINE_GRACES
    return (ports.now() - stopped_at).total_seconds() >= grace_seconds


async def _stop_in_jenkins(build: Build, how: str, ports: Ports) -> bool:
    """One step of the escalation; True = Jenkins took it. What it does not have yet is stopped when it has."""
    try:
        if build.build_number is not None:
            await ports.jenkins.stop(build.job_name, build.build_number, how)
        elif build.queue_item is not None:
            await ports.jenkins.cancel(build.queue_item)
            return False
        else:
            return False
    except (UnavailableError, JenkinsNotFoundError):
        return False
    return True
