"""One attempt of one delivery: send it, decide the outcome, describe the attempt."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

from shuttle.clock import Clock
from shuttle.delivery import Attempt, DueDelivery, SendResult, StatusSender
from shuttle.delivery.schedule import next_attempt_at
from shuttle.outgoing.hooks import kind_of

# A callback's authorization lives 2.8 to 5.6 hours.
_LEGACY_LIFE = timedelta(hours=5.5)
_LEGACY_LONGEST_PAUSE_SECONDS = 1800.0
_LEGACY_REFUSALS = frozenset({401, 403, 404, 410})
_LEGACY_REFUSED_TRIES = 3


@dataclass(frozen=True, slots=True)
class StatusDelivery:
    """Attempts deliveries; `senders` by kind of receiver, `schedule_seconds` are the delays between attempts."""

    senders: Mapping[str, StatusSender]
    schedule_seconds: Sequence[float]
    clock: Clock

    async def attempt(self, delivery: DueDelivery) -> Attempt:
        """Send once; raises nothing."""
        began = self.clock.moment()
        stopwatch = time.monotonic()
        answer = await self.senders[kind_of(delivery.url)].post(delivery, began.at)
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
            went_over=answer.went_over,
        )

    def _decide_outcome(self, answer: SendResult, delivery: DueDelivery, now: datetime) -> tuple[str, datetime | None]:
        """2xx: delivered. 410: gone. Anything else: failed, and gave up once the schedule is used up."""
        if answer.error is None:
            return "delivered", None
        if delivery.wire == "legacy":
            return self._decide_legacy_outcome(answer, delivery, now)
        if answer.status_code == HTTPStatus.GONE:
            return "gone", None
        retry_at = next_attempt_at(
            self.schedule_seconds,
            tries=delivery.tries + 1,
            failed_at=now,
            retry_after_seconds=_patience_seconds(answer, delivery),
        )
        return ("gave_up", None) if retry_at is None else ("failed", retry_at)

    def _decide_legacy_outcome(
        self, answer: SendResult, delivery: DueDelivery, now: datetime
    ) -> tuple[str, datetime | None]:
        """Callbacks of docs/contract.md, "The older API": three attempts after a refusal, else 5.5 hours.

        Giving up on `pending` leaves the final status its own tries: a client that recorded the build late gets it.
        """
        if answer.status_code in _LEGACY_REFUSALS and delivery.tries + 1 >= _LEGACY_REFUSED_TRIES:
            return "gave_up", None
        pauses = [min(seconds, _LEGACY_LONGEST_PAUSE_SECONDS) for seconds in self.schedule_seconds]
        pauses += [_LEGACY_LONGEST_PAUSE_SECONDS] * max(0, delivery.tries + 2 - len(pauses))
        retry_at = next_attempt_at(
            pauses,
            tries=delivery.tries + 1,
            failed_at=now,
            retry_after_seconds=_patience_seconds(answer, delivery),
        )
        if retry_at is None or retry_at > delivery.queued_steady_at + _LEGACY_LIFE:
            return "gave_up", None
        return "failed", retry_at


def _asked_until(answer: SendResult, delivery: DueDelivery, now: datetime) -> datetime | None:
    patience_seconds = _patience_seconds(answer, delivery)
    return None if patience_seconds is None else now + timedelta(seconds=patience_seconds)


def _patience_seconds(answer: SendResult, delivery: DueDelivery) -> float | None:
    """What a receiver that did not take the status asks for; of a callback's few hours no large part."""
    if answer.error is None or answer.patience_seconds is None:
        return None
    if delivery.wire == "legacy":
        return min(answer.patience_seconds, _LEGACY_LONGEST_PAUSE_SECONDS)
    return answer.patience_seconds
