"""Follow: from the queue item to the claimed build, its log into the spool, and Jenkins' result."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from shuttle.build import STOP_ENDINGS, Build, Ending, State, ending_of
from shuttle.errors import JenkinsNotFoundError, UnavailableError
from shuttle.jenkins import JenkinsBuild
from shuttle.lifecycle import Ports
from shuttle.lifecycle.claimed import unless_claimed
from shuttle.lifecycle.patience import Patience
from shuttle.lifecycle.plan import Plan
from shuttle.lifecycle.tail import tail
from shuttle.lifecycle.trigger import find_in_jenkins

log = structlog.get_logger()

Found = TypeVar("Found")

# While the claim is awaited: right after the trigger quick (measured: an item becomes a build within 8 ms), then slow,
# because the claim itself wakes us.
_FIRST_LOOK_SECONDS = 0.02
_LONGEST_LOOK_SECONDS = 2.0
# The log waits for it.
_DESCRIBE_SECONDS = 2.0
_LOST = Ending(State.FAILED, "lost_in_jenkins", "Jenkins no longer has this build.")
_CANCELLED = Ending(State.FAILED, "cancelled_in_jenkins", "Somebody took the build out of Jenkins' queue.")


async def follow(build: Build, plan: Plan, ports: Ports) -> Ending:
    """queued → running → how it ended. Every step can be entered again by a takeover."""
    build, ending = await _until_claimed_or_over(build, ports)
    if ending is not None:
        return ending
    await _describe(build, ports)
    try:
        await _patiently(build, ports, lambda: tail(build, plan, ports, lambda: _is_over(build, ports)))
        result = await _result(build, ports)
    except JenkinsNotFoundError:
        return _ending_of_lost(build)
    build = await ports.store.build(build.build_uuid) or build
    return ending_of(build, result)


async def _until_claimed_or_over(build: Build, ports: Ports) -> tuple[Build, Ending | None]:
    """Wait until the pipeline claims the build, or until Jenkins ended it without a claim."""
    pause = _FIRST_LOOK_SECONDS
    patience = Patience(build.build_uuid, ports)
    missing = Missing(ports)
    with ports.signals.listen(build.build_uuid) as listener:
        while build.claimed_at is None:
            try:
                over = await unless_claimed(build.build_uuid, ports, _look(build, ports))
                await patience.over()
            except JenkinsNotFoundError:
                if missing.for_too_long():
                    return build, _ending_of_lost(build)
                over = None
            except UnavailableError as error:
                missing.reset()
                await patience.wait(f"Jenkins: {error.message}")
                over = None
            if over is not None:
                return (build, over) if isinstance(over, Ending) else (over, None)
            await listener.wait(pause)
            pause = min(pause * 1.5, _LONGEST_LOOK_SECONDS)
            build = await ports.store.build(build.build_uuid) or build
    return build, None


async def _look(build: Build, ports: Ports) -> Build | Ending | None:
    """One look: an ending, a build that is over without a claim (its log still counts), or None = go on waiting."""
    if build.build_number is not None:
        seen = await ports.jenkins.build(build.job_name, build.build_number)
        if not seen.building and seen.result is not None:
            # The claim may have come in while Jenkins answered.
            return await ports.store.build(build.build_uuid)
        await _tell_why(build, "a free executor in Jenkins", ports)
        return None
    if build.queue_item is None:
        if await find_in_jenkins(build, ports) is None:
            raise JenkinsNotFoundError("Jenkins has neither an item nor a build with this marker.")
        return None
    waiting = (await ports.jenkins.waiting()).get(build.build_uuid)
    if waiting is not None:
        await _tell_why(build, f"Jenkins: {waiting.why}", ports)
        return None
    return await _look_at_item(build, build.queue_item, ports)


async def _look_at_item(build: Build, queue_item: int, ports: Ports) -> Ending | None:
    """The item left the queue: cancelled, or a build by now. `executable: null` alone says nothing."""
    try:
        item = await ports.jenkins.queue_item(queue_item)
    except JenkinsNotFoundError:  # the 5-minute rule, or a restart: the marker finds the build
        if await find_in_jenkins(build, ports) is None:
            raise
        return None
    if item.cancelled:
        return STOP_ENDINGS[build.stop_cause] if build.stop_cause is not None else _CANCELLED
    if item.number is not None:
        await ports.store.queued(build.build_uuid, number=item.number)
    return None


async def _describe(build: Build, ports: Ports) -> None:
    """The caller's words on Jenkins' page of the build; for people, so nothing depends on it."""
    if build.human_readable_info and build.build_number is not None:
        try:
            async with asyncio.timeout(_DESCRIBE_SECONDS):
                await ports.jenkins.describe(build.job_name, build.build_number, build.human_readable_info)
        except (UnavailableError, JenkinsNotFoundError, TimeoutError) as error:
            problem = str(error) or "no answer in time"
            log.info("the Jenkins build may have no description", build_uuid=build.build_uuid, error=problem)


async def _tell_why(build: Build, why: str, ports: Ports) -> None:
    if build.waiting_for != why:
        await ports.store.waits_for(build.build_uuid, why)


async def _result(build: Build, ports: Ports) -> str:
    """Jenkins' result; its log can end a moment before."""
    with ports.signals.listen(build.build_uuid) as listener:
        while True:
            seen = await _patiently(build, ports, lambda: _numbered(build, ports))
            if not seen.building and seen.result is not None:
                return seen.result
            await listener.wait(0.1)


async def _is_over(build: Build, ports: Ports) -> bool:
    return not (await _numbered(build, ports)).building


async def _numbered(build: Build, ports: Ports) -> JenkinsBuild:
    assert build.build_number is not None  # noqa: S101 - claimed, or found by its number
    return await ports.jenkins.build(build.job_name, build.build_number)


async def _patiently(build: Build, ports: Ports, step: Callable[[], Awaitable[Found]]) -> Found:
    """Do `step` until Jenkins is well; one that healthily lacks the build for the settling time raises."""
    patience = Patience(build.build_uuid, ports)
    missing = Missing(ports)
    while True:
        try:
            found = await step()
        except JenkinsNotFoundError as error:
            if missing.for_too_long():
                raise
            await patience.wait(f"Jenkins: {error.message}")
        except UnavailableError as error:
            missing.reset()
            await patience.wait(f"Jenkins: {error.message}")
        else:
            await patience.over()
            return found


class Missing:
    """How long a healthy Jenkins has been saying that it lacks the build."""

    def __init__(self, ports: Ports) -> None:
        self._settle_seconds = ports.settings.shuttle_trigger_settle_seconds
        self._clock = asyncio.get_running_loop().time
        self._since: float | None = None

    def for_too_long(self) -> bool:
        """Another healthy "not found"; True after SHUTTLE_TRIGGER_SETTLE_SECONDS of them."""
        now = self._clock()
        self._since = now if self._since is None else self._since
        return now - self._since >= self._settle_seconds

    def reset(self) -> None:
        """An answer that says nothing: count anew."""
        self._since = None


def _ending_of_lost(build: Build) -> Ending:
    return STOP_ENDINGS[build.stop_cause] if build.stop_cause is not None else _LOST
