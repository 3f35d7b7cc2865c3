"""Carrying a log until it is told or given up: try after try, whatever kind of receiver it is."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from shuttle.clock import Clock
from shuttle.errors import ShuttleError
from shuttle.logs import LogReader
from shuttle.outgoing.hooks import members_of, shown_host
from shuttle.sinks import FinishedAt, SinkLedger, SinkTarget
from shuttle.sinks.far_ends import FarEnds

_log = structlog.get_logger()

_MAX_REFUSALS = 5
# For a request that begins around the time to give up: after a long down time each log is really tried once.
_HONEST_TRY_SECONDS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """How long to wait for what, in seconds."""

    give_up_seconds: float = 86_400
    """After the build's end."""
    first_delay_seconds: float = 1
    """Between two requests, doubled with every failure; up to half of it is left out at random, so that the builds of
    one receiver do not come back all at once."""
    longest_delay_seconds: float = 60
    patience_seconds: float = 600
    """For a receiver that takes nothing, or does not answer after our end; a silent log is not its fault."""


class Carriage(Protocol):
    """One log on its way to one receiver: where the next try starts, and how the last ones went.

    `offset` is where the next try begins, `problem` what went wrong last, `refusals` how often the receiver refused
    since it last took anything, `failures` how often nothing came of a try.
    """

    offset: int
    problem: str
    failures: int

    @property
    def refusals(self) -> int:
        """See above."""

    async def tried(self, patience_seconds: Callable[[], float]) -> bool:
        """Try once, from the first byte that there is to send; whether the whole log is acknowledged by it.

        A failure is in the ledger when this returns. Raises ShuttleError where the ledger does, and CancelledError;
        nothing that is open then looks like an end.
        """


class Sender(Protocol):
    """Makes carriages to receivers of one kind."""

    def carriage(self, target: SinkTarget, log: LogReader, ledger: SinkLedger, far_ends: FarEnds) -> Carriage:
        """For one log; nothing is opened yet. `far_ends` is told of a host that takes something."""


class Carrier:
    """A `shuttle.sinks.Sink` of any kind: tries with backoff until done or given up; `far_ends` are all sinks' own."""

    def __init__(
        self,
        sender: Sender,
        tries: Tries,
        far_ends: FarEnds,
        clock: Clock,
    ) -> None:
        self._sender = sender
        self._tries = tries
        self._far_ends = far_ends
        self._clock = clock

    async def carry(self, target: SinkTarget, log: LogReader, ledger: SinkLedger, finished_at: FinishedAt) -> None:
        """Send until done or given up; never raises but CancelledError, and then nothing open looks like an end."""
        carriage = self._sender.carriage(target, log, ledger, self._far_ends)
        hosts = frozenset(shown_host(url) for url in members_of(target.url))
        heeding = True
        while True:
            began_at, began_from = time.monotonic(), carriage.offset
            try:
                if await carriage.tried(partial(self._patience_seconds, finished_at, began_at)):
                    return
                if time.monotonic() - began_at > self._tries.longest_delay_seconds:
                    carriage.failures, heeding = 0, True  # it was well for long: this is another trouble
                heeding = heeding or carriage.offset > began_from
                delay_seconds = self._delay_seconds(carriage.failures)
                if carriage.refusals >= _MAX_REFUSALS or delay_seconds >= self._left_seconds(finished_at):
                    await ledger.gave_up(target.sink_id, carriage.problem)
                    return
            except ShuttleError as error:  # the ledger's: what it did not take is sent again, doubled rather than lost
                _log.warning("a sink waits to be recorded", sink_id=target.sink_id, error=error.message)
                delay_seconds = self._tries.longest_delay_seconds
            if await self._far_ends.pause(hosts, delay_seconds, heeding=heeding):
                # Once: if it still takes nothing of ours, what others hear of it is no news to us. But what fails in
                # the minute after an outage is soon well, so the pauses are short ones again.
                heeding, carriage.failures = False, 0

    def _left_seconds(self, finished_at: FinishedAt) -> float:
        ended_at = finished_at()
        if ended_at is None:
            return math.inf
        return self._tries.give_up_seconds - (self._clock.steady() - ended_at).total_seconds()

    def _patience_seconds(self, finished_at: FinishedAt, began_at: float) -> float:
        """Not beyond the time to give up, so that a receiver of a byte a second holds nothing for ever."""
        honest_seconds = _HONEST_TRY_SECONDS - (time.monotonic() - began_at)
        return min(self._tries.patience_seconds, max(self._left_seconds(finished_at), honest_seconds, 0))

    def _delay_seconds(self, failures: int) -> float:
        doubled = self._tries.first_delay_seconds * 2.0 ** min(max(failures - 1, 0), 30)
        return min(doubled, self._tries.longest_delay_seconds) * random.uniform(0.5, 1)  # noqa: S311 - jitter
