"""One try of one delivery, top-down: the message, the answer, and what comes of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from shuttle.delivery import Answer, Attempt, DueDelivery, Post
from shuttle.delivery.schedule import next_attempt_at, retry_after_seconds
from shuttle.outgoing.hooks import kind_of


@dataclass(frozen=True, slots=True)
class Courier:
    """What every try needs: a post for each kind of receiver, and the operator's schedule in seconds."""

    posts: Mapping[str, Post]
    schedule_seconds: Sequence[float]
    clock: Callable[[], datetime]

    async def deliver(self, delivery: DueDelivery) -> Attempt:
        """Try once; raises nothing."""
        started_at = self.clock()
        began = time.monotonic()
        answer = await self.posts[kind_of(delivery.url)].post(delivery, started_at)
        ended_at = self.clock()
        outcome, retry_at = self._judge(answer, delivery, ended_at)
        return Attempt(
            delivery_id=delivery.delivery_id,
            started_at=started_at,
            took_seconds=time.monotonic() - began,
            outcome=outcome,
            status_code=answer.status_code,
            error=answer.error,
            next_attempt_at=retry_at,
            went_over=answer.went_over,
        )

    def _judge(self, answer: Answer, delivery: DueDelivery, now: datetime) -> tuple[str, datetime | None]:
        """2xx = delivered, 410 = gone for good, anything else = again by the schedule until it is used up."""
        if answer.error is None:
            return "delivered", None
        if answer.status_code == HTTPStatus.GONE:
            return "gone", None
        patience = None
        if answer.status_code in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
            patience = retry_after_seconds(answer.retry_after, now)
        retry_at = next_attempt_at(
            self.schedule_seconds, tries=delivery.tries + 1, failed_at=now, retry_after_seconds=patience
        )
        return ("gave_up", None) if retry_at is None else ("failed", retry_at)
