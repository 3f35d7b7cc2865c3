"""Poll Jenkins for a claimed build: its agent may be lost, or its step killed, although calls still arrive."""

import asyncio

from shuttle.build import Build
from shuttle.endings import JenkinsResult, read_result
from shuttle.errors import JenkinsNotFoundError, UnavailableError
from shuttle.lifecycle import Services
from shuttle.lifecycle.backoff import Backoff, NotFoundTimer
from shuttle.lifecycle.build_log import OVER, BuildLog

# A supervisor whose newest call is younger than this is not silent.
_RECENT_CALL_SECONDS = 5.0
_SHORTEST_POLL_SECONDS = 2.0
# The longest time after Jenkins' result in which calls are awaited, in multiples of SHUTTLE_AGENT_SILENCE_SECONDS.
# After the end of the step, a process sends the rest of the log for 15 minutes at most; no later call is awaited.
_LONGEST_LAST_CALL_SILENCES = 15
# The share of SHUTTLE_JENKINS_POLLS_PER_SECOND that the watches of all claimed builds may use.
_SHARE_OF_POLLS = 0.25


class JenkinsWatch:
    """Watches one build: polls Jenkins at most every 2 s while the supervisor is silent, and rarely while it calls."""

    def __init__(self, build: Build, build_log: BuildLog, services: Services) -> None:
        assert build.build_number is not None  # noqa: S101 - claimed
        self._build = build
        self._number = build.build_number
        self._log = build_log
        self._services = services
        self._clock = asyncio.get_running_loop().time
        self._not_found = NotFoundTimer(services)
        self._backoff = Backoff(build.build_uuid, services, [self._not_found])
        self._result: JenkinsResult | None = None
        self._over_at = 0.0
        self._polled_at = self._clock()
        silence_seconds = services.settings.shuttle_agent_silence_seconds
        self._recent_call_seconds = min(_RECENT_CALL_SECONDS, silence_seconds / 4)

    async def result_when_silent(self) -> JenkinsResult | None:
        """Jenkins' result, or LOST, once the supervisor has been silent for so long that no call is awaited."""
        if self._result is None and self._seconds_to_poll() <= 0:
            await self._poll()
        if self._result is None or self._seconds_to_last_call() > 0:
            return None
        return self._result

    async def sees_end(self) -> bool:
        """Whether Jenkins has ended the build, or no longer has it; polls once unless that is known already."""
        if self._result is None:
            await self._poll()
        return self._result is not None

    @property
    def aborted_result(self) -> JenkinsResult | None:
        """Jenkins' result if it is ABORTED or LOST; the supervisor may still be running."""
        return self._result if self._result is not None and self._result.cut_short else None

    def next_seconds(self) -> float:
        """How long to wait for a signal before the next check."""
        return max(self._seconds_to_poll() if self._result is None else self._seconds_to_last_call(), 0.05)

    def _seconds_to_poll(self) -> float:
        pause_seconds = self._pause_seconds()
        silent = max(self._log.last_call_at + self._recent_call_seconds, self._polled_at + pause_seconds)
        silence_seconds = self._services.settings.shuttle_agent_silence_seconds
        return min(silent, self._polled_at + max(silence_seconds, pause_seconds)) - self._clock()

    def _seconds_to_last_call(self) -> float:
        longest = self._services.settings.shuttle_agent_silence_seconds * _LONGEST_LAST_CALL_SILENCES
        return min(self._log.last_call_at + self._last_call_seconds(), self._over_at + longest) - self._clock()

    def _pause_seconds(self) -> float:
        following = self._services.logs.open_count
        return max(_SHORTEST_POLL_SECONDS, following / (self._services.controllers.polls_per_second * _SHARE_OF_POLLS))

    def _last_call_seconds(self) -> float:
        """How long after the supervisor's newest call its last call is awaited.

        After ABORTED and LOST the supervisor, or the process that sends the rest of the log, may still run. Any other
        result means that the supervisor has ended: it keeps the step running until its last call is acknowledged.
        """
        settings = self._services.settings
        if self.aborted_result is not None:
            return settings.shuttle_agent_silence_seconds
        return min(settings.shuttle_trigger_settle_seconds, settings.shuttle_agent_silence_seconds)

    async def _poll(self) -> None:
        """Poll once. An error is not retried here, only followed by a wait: calls may end the build meanwhile."""
        self._polled_at = self._clock()
        try:
            seen = await self._services.jenkins_of(self._build).build(self._build.job_name, self._number)
            await self._backoff.reset()
            self._not_found.reset()
        except JenkinsNotFoundError:
            if self._not_found.for_too_long():
                self._record(JenkinsResult.LOST)
            return
        except UnavailableError as error:
            await self._backoff.wait(f"Jenkins: {error.message}")
            return
        if not seen.building and seen.result is not None:
            self._record(read_result(seen.result))
        elif (
            seen.ghost
            and self._clock() - self._log.last_call_at >= self._services.settings.shuttle_agent_silence_seconds
        ):
            self._record(JenkinsResult.LOST)

    def _record(self, result: JenkinsResult) -> None:
        """Keep the result, and stop a supervisor that still runs: it must not overlap with the app's next build."""
        self._result = result
        self._over_at = self._clock()
        self._services.logs.stop(self._build.build_uuid, OVER)


async def is_over_in_jenkins(build: Build, services: Services) -> bool:
    """Ask Jenkins once. True also if it does not have the build; False also if it does not answer."""
    if build.build_number is None:
        return True
    try:
        return not (await services.jenkins_of(build).build(build.job_name, build.build_number)).building
    except JenkinsNotFoundError:
        return True
    except UnavailableError:
        return False
