"""One attempt of one delivery: sends it, decides the outcome and describes the attempt."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

import structlog

from shuttle.clock import Clock
from shuttle.delivery import Attempt, DueDelivery, Outcome, SendResult, StatusSender
from shuttle.delivery.schedule import next_attempt_at
from shuttle.outgoing.endpoints import EndpointKind, PayloadFormat
from shuttle.outgoing.hooks import kind_of

_log = structlog.get_logger()

# The authorization of a callback is valid for 2.8 to 5.6 hours.
_LEGACY_LIFE = timedelta(hours=5.5)
_LEGACY_LONGEST_PAUSE_SECONDS = 1800.0
_LEGACY_REFUSALS = frozenset({401, 403, 404, 410})
_LEGACY_REFUSED_TRIES = 3


@dataclass(frozen=True, slots=True)
class StatusDelivery:
    """Attempts deliveries; `senders` has one for each kind of receiver, `schedule_seconds` the delays."""

    senders: Mapping[EndpointKind, StatusSender]
    schedule_seconds: Sequence[float]
    clock: Clock

    async def attempt(self, delivery: DueDelivery) -> Attempt:
        """Send once; raises LeaseMissingError only."""
        began = self.clock.moment()
        stopwatch = time.monotonic()
        answer = await self._post(delivery, began.at)
        ended_at = self.clock.steady()
        outcome, retry_at = self._decide_outcome(answer, delivery, ended_at)
        return Attempt(
            delivery_id=delivery.delivery_id,
            started_at=began.at,
            began_steady_at=began.steady,
            took_seconds=time.monotonic() - stopwatch,
            outcome=outcome,
            status_code=answer.status_code,
            error=answer.error,
            next_attempt_at=retry_at,
            asked_until=_asked_until(answer, delivery, ended_at),
            failed_over=answer.failed_over,
        )

    async def _post(self, delivery: DueDelivery, at: datetime) -> SendResult:
        if delivery.unsendable is not None:
            _log.warning("a status cannot be sent", delivery_id=delivery.delivery_id, error=delivery.unsendable)
            return SendResult(error=delivery.unsendable)
        return await self.senders[kind_of(delivery.url)].post(delivery, at)

    def _decide_outcome(
        self, answer: SendResult, delivery: DueDelivery, now: datetime
    ) -> tuple[Outcome, datetime | None]:
        """The outcome and the time of the next attempt.

        2xx is DELIVERED and 410 is GONE. Anything else is FAILED, or GAVE_UP after the last attempt.
        """
        if answer.error is None:
            return Outcome.DELIVERED, None
        if delivery.payload_format is PayloadFormat.LEGACY:
            return self._decide_legacy_outcome(answer, delivery, now)
        if answer.status_code == HTTPStatus.GONE:
            return Outcome.GONE, None
        retry_at = next_attempt_at(
            self.schedule_seconds,
            tries=delivery.tries + 1,
            failed_at=now,
            retry_after_seconds=_retry_after_seconds(answer, delivery),
        )
        return (Outcome.GAVE_UP, None) if retry_at is None else (Outcome.FAILED, retry_at)

    def _decide_legacy_outcome(
        self, answer: SendResult, delivery: DueDelivery, now: datetime
    ) -> tuple[Outcome, datetime | None]:
        """Outcome and time of the next attempt for a callback (docs/contract.md, "The older API").

        From the third attempt on a refusal ends the delivery. Any other failure is retried for 5.5 hours. The final
        status has its own attempts even if `pending` was given up, so a client that recorded the build late gets it.
        """
        if answer.status_code in _LEGACY_REFUSALS and delivery.tries + 1 >= _LEGACY_REFUSED_TRIES:
            return Outcome.GAVE_UP, None
        pauses = [min(seconds, _LEGACY_LONGEST_PAUSE_SECONDS) for seconds in self.schedule_seconds]
        pauses += [_LEGACY_LONGEST_PAUSE_SECONDS] * max(0, delivery.tries + 2 - len(pauses))
        retry_at = next_attempt_at(
            pauses,
            tries=delivery.tries + 1,
            failed_at=now,
            retry_after_seconds=_retry_after_seconds(answer, delivery),
        )
        if retry_at is None or retry_at > delivery.queued_steady_at + _LEGACY_LIFE:
            return Outcome.GAVE_UP, None
        return Outcome.FAILED, retry_at


def _asked_until(answer: SendResult, delivery: DueDelivery, now: datetime) -> datetime | None:
    retry_after_seconds = _retry_after_seconds(answer, delivery)
    return None if retry_after_seconds is None else now + timedelta(seconds=retry_after_seconds)


def _retry_after_seconds(answer: SendResult, delivery: DueDelivery) -> float | None:
    """The Retry-After of a receiver that did not accept the status; limited for a callback, which expires in hours."""
    if answer.error is None or answer.retry_after_seconds is None:
        return None
    if delivery.payload_format is PayloadFormat.LEGACY:
        return min(answer.retry_after_seconds, _LEGACY_LONGEST_PAUSE_SECONDS)
    return answer.retry_after_seconds
