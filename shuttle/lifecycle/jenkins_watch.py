"""Ask Jenkins about a claimed build: its agent may be lost, or its step killed, although calls still come."""

import asyncio

from shuttle.build import Build
from shuttle.endings import JenkinsResult, read_result
from shuttle.errors import JenkinsNotFoundError, UnavailableError
from shuttle.lifecycle import Services
from shuttle.lifecycle.backoff import Backoff, NotFoundTimer
from shuttle.lifecycle.build_log import BuildLog

# A supervisor whose newest call is younger than this is not silent.
_RECENT_CALL_SECONDS = 5.0
_QUICKEST_POLL_SECONDS = 2.0
# Calls that come this long after Jenkins' end, in multiples of SHUTTLE_AGENT_SILENCE_SECONDS, are of no step: the
# process that sends the rest of a log does so for 15 minutes.
_LONGEST_LAST_CALL_SILENCES = 15
# The share of SHUTTLE_JENKINS_POLLS_PER_SECOND that the watches of all claimed builds may use.
_SHARE_OF_POLLS = 0.25


class JenkinsWatch:
    """Watches one build; asks Jenkins every 2 s at most while the supervisor is silent, and seldom while it calls."""

    def __init__(self, build: Build, build_log: BuildLog, services: Services) -> None:
        assert build.build_number is not None  # noqa: S101 - claimed
        self._build = build
        self._number = build.build_number
        self._log = build_log
        self._services = services
        self._clock = asyncio.get_running_loop().time
        self._patience = Backoff(build.build_uuid, services)
        self._missing = NotFoundTimer(services)
        self._result: JenkinsResult | None = None
        self._over_at = 0.0
        self._asked_at = self._clock()
        silence_seconds = services.settings.shuttle_agent_silence_seconds
        self._recent_call_seconds = min(_RECENT_CALL_SECONDS, silence_seconds / 4)

    async def result_when_silent(self) -> JenkinsResult | None:
        """Jenkins' result, or LOST, once the supervisor is silent for so long that no call is awaited."""
        if self._result is None and self._seconds_to_question() <= 0:
            await self._ask()
        if self._result is None or self._seconds_to_last_call() > 0:
            return None
        return self._result

    @property
    def aborted_result(self) -> JenkinsResult | None:
        """ABORTED or LOST if Jenkins has said so; the supervisor may still be running."""
        return self._result if self._result is not None and self._result.cut_short else None

    def next_seconds(self) -> float:
        """How long to wait for a signal before looking again."""
        return max(self._seconds_to_question() if self._result is None else self._seconds_to_last_call(), 0.05)

    def _seconds_to_question(self) -> float:
        pause_seconds = self._pause_seconds()
        silent = max(self._log.heard_at + self._recent_call_seconds, self._asked_at + pause_seconds)
        silence_seconds = self._services.settings.shuttle_agent_silence_seconds
        return min(silent, self._asked_at + max(silence_seconds, pause_seconds)) - self._clock()

    def _seconds_to_last_call(self) -> float:
        longest = self._services.settings.shuttle_agent_silence_seconds * _LONGEST_LAST_CALL_SILENCES
        return min(self._log.heard_at + self._last_call_seconds(), self._over_at + longest) - self._clock()

    def _pause_seconds(self) -> float:
        following = self._services.logs.open_count
        return max(_QUICKEST_POLL_SECONDS, following / (self._services.polls.polls_per_second * _SHARE_OF_POLLS))

    def _last_call_seconds(self) -> float:
        """How long after the supervisor's newest call its last one is still awaited.

        After ABORTED and LOST the supervisor, or the process that sends the rest of the log, may still run. Any other
        result means that it is gone: it keeps the step running until its last call is acknowledged.
        """
        settings = self._services.settings
        if self.aborted_result is not None:
            return settings.shuttle_agent_silence_seconds
        return min(settings.shuttle_trigger_settle_seconds, settings.shuttle_agent_silence_seconds)

    async def _ask(self) -> None:
        self._asked_at = self._clock()
        try:
            seen = await self._services.jenkins.build(self._build.job_name, self._number)
            await self._patience.over()
            self._missing.reset()
        except JenkinsNotFoundError:
            if self._missing.for_too_long():
                self._record(JenkinsResult.LOST)
            return
        except UnavailableError as error:
            self._missing.reset()
            await self._patience.wait(f"Jenkins: {error.message}")
            return
        if not seen.building and seen.result is not None:
            self._record(read_result(seen.result))
        elif seen.ghost and self._clock() - self._log.heard_at >= self._services.settings.shuttle_agent_silence_seconds:
            self._record(JenkinsResult.LOST)

    def _record(self, result: JenkinsResult) -> None:
        """Also stops a supervisor that still runs: it must not work beside the app's next build."""
        self._result = result
        self._over_at = self._clock()
        self._services.logs.stop(self._build.build_uuid, "over")


async def is_over_in_jenkins(build: Build, services: Services) -> bool:
    """Ask Jenkins once; also True if it does not have the build, and False if it does not answer."""
    if build.build_number is None:
        return True
    try:
        return not (await services.jenkins.build(build.job_name, build.build_number)).building
    except JenkinsNotFoundError:
        return True
    except UnavailableError:
        return False
