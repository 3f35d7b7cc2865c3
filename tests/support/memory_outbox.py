"""An outbox in memory, for tests of its users; it passes the same contract tests as the real one (tests/contract)."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from shuttle.delivery import Attempt, DeliveryState, DueDelivery, Outcome
from shuttle.errors import StoreError


@dataclass
class _Receiver:
    receiver_id: int
    build_uuid: str
    url: str
    host: str
    headers: Mapping[str, str]
    app_id: str
    member: int = 0
    ended: bool = False
    asked_until: datetime | None = None

    def due_at(self, now: datetime) -> datetime:
        return max(now, self.asked_until or now)


@dataclass
class _Delivery:
    delivery_id: int
    receiver: _Receiver
    webhook_id: str
    sequence: int
    body: bytes
    queued_steady_at: datetime
    next_attempt_at: datetime
    tries: int = 0
    state: DeliveryState = DeliveryState.PENDING


@dataclass
class MemoryOutbox:
    """Implements `shuttle.delivery.Outbox`. `broken` makes it raise, `recorded` is notified after every attempt.

    `clock` returns steady time.
    """

    clock: Callable[[], datetime]
    broken: bool = False
    calls: int = 0
    attempts: list[Attempt] = field(default_factory=list)
    recorded: asyncio.Condition = field(default_factory=asyncio.Condition)
    on_event: Callable[[], None] = lambda: None
    _receivers: list[_Receiver] = field(default_factory=list)
    _deliveries: list[_Delivery] = field(default_factory=list)

    def add_receiver(
        self, build_uuid: str, url: str, host: str, headers: Mapping[str, str] | None = None, app_id: str = "app"
    ) -> None:
        self._receivers.append(_Receiver(len(self._receivers) + 1, build_uuid, url, host, headers or {}, app_id))

    def end_receivers(self, which: Callable[[str], bool]) -> None:
        """End those of some builds: their call was cancelled, or another replica has taken the app."""
        for receiver in self._receivers:
            if which(receiver.build_uuid):
                receiver.ended = True
                for one in self._pending(receiver):
                    one.state = DeliveryState.GAVE_UP

    def emit(self, build_uuid: str) -> str:
        now = self.clock()
        sequence = 1 + max(
            (one.sequence for one in self._deliveries if one.receiver.build_uuid == build_uuid), default=0
        )
        webhook_id = f"msg_{build_uuid}_{sequence}"
        for receiver in self._receivers:
            if receiver.build_uuid == build_uuid and not receiver.ended:
                for delivery in self._pending(receiver):
                    delivery.next_attempt_at = receiver.due_at(now)
                body = f'{{"build":"{build_uuid}","sequence":{sequence}}}'.encode()
                self._deliveries.append(
                    _Delivery(
                        len(self._deliveries) + 1, receiver, webhook_id, sequence, body, now, receiver.due_at(now)
                    )
                )
        self.on_event()
        return webhook_id

    async def due_deliveries(
        self, *, now: datetime, limit: int, busy: frozenset[int], full_hosts: frozenset[str] = frozenset()
    ) -> list[DueDelivery]:
        self._count_call()
        due = [head for head in self._heads(busy, full_hosts) if head.next_attempt_at <= now]
        return [
            DueDelivery(
                delivery_id=head.delivery_id,
                receiver_id=head.receiver.receiver_id,
                app_id=head.receiver.app_id,
                build_uuid=head.receiver.build_uuid,
                webhook_id=head.webhook_id,
                sequence=head.sequence,
                body=head.body,
                host=head.receiver.host,
                url=head.receiver.url,
                headers=head.receiver.headers,
                member=head.receiver.member,
                tries=head.tries,
                queued_steady_at=head.queued_steady_at,
            )
            for head in due[:limit]
        ]

    async def next_due_at(self, *, busy: frozenset[int], full_hosts: frozenset[str] = frozenset()) -> datetime | None:
        self._count_call()
        return next((head.next_attempt_at for head in self._heads(busy, full_hosts)), None)

    async def record_attempt(self, attempt: Attempt) -> None:
        self._count_call()
        delivery = self._deliveries[attempt.delivery_id - 1]
        delivery.tries += 1
        delivery.receiver.asked_until = attempt.asked_until
        if attempt.failed_over is not None:
            delivery.receiver.member = attempt.failed_over.member
        if attempt.outcome is Outcome.DELIVERED:
            delivery.state = DeliveryState.DELIVERED
        elif attempt.outcome is Outcome.FAILED:
            assert attempt.next_attempt_at is not None
            newest = self._pending(delivery.receiver)[-1]
            has_newer_event = newest.queued_steady_at > attempt.began_steady_at
            made_due_at = delivery.receiver.due_at(newest.queued_steady_at)
            delivery.next_attempt_at = made_due_at if has_newer_event else attempt.next_attempt_at
        elif attempt.outcome is Outcome.GAVE_UP:
            delivery.state = DeliveryState.GAVE_UP
        else:
            delivery.receiver.ended = True
            for one in self._pending(delivery.receiver):
                one.state = DeliveryState.GAVE_UP
        self.attempts.append(attempt)
        async with self.recorded:
            self.recorded.notify_all()

    def _count_call(self) -> None:
        self.calls += 1
        if self.broken:
            raise StoreError("The database is unavailable.")

    def _pending(self, receiver: _Receiver) -> list[_Delivery]:
        return [one for one in self._deliveries if one.receiver is receiver and one.state is DeliveryState.PENDING]

    def _heads(self, busy: frozenset[int], full_hosts: frozenset[str]) -> list[_Delivery]:
        free = [one for one in self._receivers if one.receiver_id not in busy and one.host not in full_hosts]
        heads = [pending[0] for receiver in free if (pending := self._pending(receiver))]
        return sorted(heads, key=lambda head: (head.next_attempt_at, head.delivery_id))
