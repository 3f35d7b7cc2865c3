"""Status webhooks: from the outbox to the receivers, in order for each, retried on a schedule, a row per attempt."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from shuttle.outgoing.failover import Failover


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDelivery:
    """The oldest undelivered event of one receiver of one build, as the outbox holds it.

    `host` is what may be shown of `url`; deliveries with the same `host` share its limit of connections. `member` is
    the place of the failover's member that took the last one, from 0. `tries` were made before this one.
    `queued_steady_at`: the event came then, on steady time.
    """

    delivery_id: int
    receiver_id: int
    build_uuid: str
    webhook_id: str
    sequence: int
    body: bytes
    host: str = ""
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    wire: str = "standard"
    member: int = 0
    tries: int = 0
    queued_steady_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt of a delivery and its outcome. `outcome` is delivered, failed, gone (410) or gave_up.

    `asked_until`: the receiver's own Retry-After; no new event hastens it. It, `began_steady_at` and `next_attempt_at`
    are on steady time, `started_at` is what people read.
    """

    delivery_id: int
    started_at: datetime
    began_steady_at: datetime
    took_seconds: float
    outcome: str
    status_code: int | None = None
    error: str | None = None
    next_attempt_at: datetime | None = None
    asked_until: datetime | None = None
    went_over: Failover | None = None

    @property
    def ended_at(self) -> datetime:
        """When it was known what came of it."""
        return self.started_at + timedelta(seconds=self.took_seconds)


@dataclass(frozen=True, slots=True)
class SendResult:
    """A receiver's answer, or why there is none; `error` is None if it accepted the status.

    `patience_seconds` is what its Retry-After asks for. `went_over`: it is another member of the failover than the one
    that took the last.
    """

    status_code: int | None = None
    error: str | None = None
    patience_seconds: float | None = None
    went_over: Failover | None = None


class StatusSender(Protocol):
    """Sends statuses to receivers of one kind. Safe for any number of tasks of one loop."""

    async def post(self, delivery: DueDelivery, at: datetime) -> SendResult:
        """Try once, signed as of `at`, within a time of its own; raises nothing."""


class Outbox(Protocol):
    """The durable side of delivery. Safe for any number of tasks of one loop; raises StoreError."""

    async def due_deliveries(
        self, *, now: datetime, limit: int, busy: frozenset[int], full_hosts: frozenset[str] = frozenset()
    ) -> list[DueDelivery]:
        """For each receiver outside `busy` its oldest undelivered event, if due at `now` (steady time); at most
        `limit`, the longest due first, and none for `full_hosts` (as in `DueDelivery.host`)."""

    async def next_due_at(self, *, busy: frozenset[int], full_hosts: frozenset[str] = frozenset()) -> datetime | None:
        """When the next of them falls due, on steady time; None = nothing waits."""

    async def record_attempt(self, attempt: Attempt) -> None:
        """Add the row; `delivered`, `gave_up` and `gone` end the delivery (gone: all of that receiver; otherwise those
        behind it have tries of their own), `failed` sets `next_attempt_at`. Where it went over, what the receiver gets
        later begins with that member."""
