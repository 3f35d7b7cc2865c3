"""Forwards one log to one receiver of any kind: retries until all of it is acknowledged or the sink is given up."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from shuttle.clock import Clock
from shuttle.errors import NotOwnerError, ShuttleError
from shuttle.logs import LogReader
from shuttle.outgoing.hooks import members_of, shown_host
from shuttle.sinks import FinishedAt, SinkLedger, SinkTarget
from shuttle.sinks.host_recovery import HostRecovery

_log = structlog.get_logger()

_MAX_REFUSALS = 5
# The minimum time for an attempt, also after the time to give up: after a long downtime each log is tried once.
_SHORTEST_ATTEMPT_SECONDS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Timeouts and delays, in seconds."""

    give_up_seconds: float = 86_400
    """How long after the build's end the sink is given up."""
    first_delay_seconds: float = 1
    """The delay after the first failure; each further failure multiplies it by two. Jitter takes up to half of it,
    so that the builds of one receiver do not all retry at once."""
    longest_delay_seconds: float = 60
    timeout_seconds: float = 600
    """The limit for a receiver that reads nothing, or does not answer after the log's end. Time in which the log does
    not grow does not count."""


class LogUpload(Protocol):
    """The upload of one log to one receiver.

    `offset` is where the next attempt begins, `problem` the last error, `refusals` the number of refusals since the
    receiver last accepted anything, `failures` the number of consecutive attempts without progress.
    """

    offset: int
    problem: str
    failures: int

    @property
    def refusals(self) -> int:
        """The number of refusals since the receiver last accepted anything."""

    async def attempt(self, timeout_seconds: Callable[[], float]) -> bool:
        """Send once, as soon as there is a byte to send; returns whether the whole log is acknowledged.

        `timeout_seconds` returns how long the receiver may make no progress. A failure is in the ledger when this
        returns. Raises ShuttleError if the ledger does, and CancelledError; an open request is then aborted, so that
        the receiver does not mistake it for the log's end.
        """


class UploadFactory(Protocol):
    """Makes uploads for receivers of one kind."""

    def upload(self, target: SinkTarget, log: LogReader, ledger: SinkLedger, host_recovery: HostRecovery) -> LogUpload:
        """Make the upload of one log; it opens no connection yet and reports successes to `host_recovery`."""


class LogForwarder:
    """A `shuttle.sinks.Sink` of any kind: retries until done or given up. All forwarders share one `host_recovery`."""

    def __init__(
        self,
        uploads: UploadFactory,
        retry_policy: RetryPolicy,
        host_recovery: HostRecovery,
        clock: Clock,
    ) -> None:
        self._uploads = uploads
        self._retry_policy = retry_policy
        self._host_recovery = host_recovery
        self._clock = clock

    async def forward(self, target: SinkTarget, log: LogReader, ledger: SinkLedger, finished_at: FinishedAt) -> None:
        """See `shuttle.sinks.Sink`."""
        upload = self._uploads.upload(target, log, ledger, self._host_recovery)
        hosts = frozenset(shown_host(url) for url in members_of(target.url))
        wake_on_recovery, unrecorded = True, 0
        while True:
            began_at, began_from = time.monotonic(), upload.offset
            try:
                if await upload.attempt(partial(self._timeout_seconds, finished_at, began_at)):
                    return
                if time.monotonic() - began_at > self._retry_policy.longest_delay_seconds:
                    upload.failures, wake_on_recovery = 0, True  # it worked for long: count failures from 0 again
                wake_on_recovery = wake_on_recovery or upload.offset > began_from
                delay_seconds = self._delay_seconds(upload.failures)
                if upload.refusals >= _MAX_REFUSALS or delay_seconds >= self._left_seconds(finished_at):
                    await ledger.gave_up(target.sink_id, upload.problem)
                    return
                unrecorded = 0
            except NotOwnerError:
                raise
            except ShuttleError as error:  # the ledger's; bytes whose offset was not recorded are sent again
                _log.warning(
                    "the state of a sink cannot be recorded; retrying", sink_id=target.sink_id, error=error.message
                )
                unrecorded += 1
                delay_seconds = self._delay_seconds(unrecorded)
            if await self._host_recovery.pause(hosts, delay_seconds, wake_on_recovery=wake_on_recovery):
                # Only once: if this log still fails, successes of other logs say nothing about it. Failures shortly
                # after an outage tend to be brief, so the delays start short again.
                wake_on_recovery, upload.failures = False, 0

    def _left_seconds(self, finished_at: FinishedAt) -> float:
        ended_at = finished_at()
        if ended_at is None:
            return math.inf
        return self._retry_policy.give_up_seconds - (self._clock.steady() - ended_at).total_seconds()

    def _timeout_seconds(self, finished_at: FinishedAt, began_at: float) -> float:
        """How long the receiver may make no progress from now on.

        It becomes 0 at the time to give up, but not in the first seconds of an attempt. So a receiver that reads a byte
        a second cannot hold an attempt forever.
        """
        shortest_seconds = _SHORTEST_ATTEMPT_SECONDS - (time.monotonic() - began_at)
        return min(self._retry_policy.timeout_seconds, max(self._left_seconds(finished_at), shortest_seconds, 0))

    def _delay_seconds(self, failures: int) -> float:
        doubled = self._retry_policy.first_delay_seconds * 2.0 ** min(max(failures - 1, 0), 30)
        return min(doubled, self._retry_policy.longest_delay_seconds) * random.uniform(0.5, 1)  # noqa: S311 - jitter
