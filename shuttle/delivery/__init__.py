"""Status webhooks: sent from the outbox in order per receiver, retried on a schedule, one row for each attempt."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from shuttle.outgoing.endpoints import PayloadFormat
from shuttle.outgoing.failover import Failover


class DeliveryState(StrEnum):
    """The state of a delivery, the sending of one event to one receiver."""

    PENDING = "pending"
    DELIVERED = "delivered"
    GAVE_UP = "gave_up"


class Outcome(StrEnum):
    """What an attempt of a delivery leads to; see `Outbox.record_attempt`. GONE: the receiver answered 410."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"
    GAVE_UP = "gave_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDelivery:
    """The oldest undelivered event of one receiver of one build, as the outbox holds it.

    `host` is the part of `url` that may be shown; deliveries with the same `host` share its limit of connections.
    `member` is the index of the failover's member that accepted the last event, from 0. `tries` is the number of
    earlier attempts. `queued_steady_at` is when the event was recorded, on steady time. `unsendable` says in a
    sentence why `url` is unknown; None = it is known.
    """

    delivery_id: int
    receiver_id: int
    app_id: str
    build_uuid: str
    webhook_id: str
    sequence: int
    body: bytes
    host: str = ""
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    payload_format: PayloadFormat = PayloadFormat.STANDARD
    member: int = 0
    tries: int = 0
    unsendable: str | None = None
    queued_steady_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt of a delivery and its outcome.

    `asked_until` is the end of the receiver's own Retry-After; a new event does not shorten it. `asked_until`,
    `began_steady_at` and `next_attempt_at` are on steady time, `started_at` is wall-clock time, for people.
    """

    delivery_id: int
    started_at: datetime
    began_steady_at: datetime
    took_seconds: float
    outcome: Outcome
    status_code: int | None = None
    error: str | None = None
    next_attempt_at: datetime | None = None
    asked_until: datetime | None = None
    failed_over: Failover | None = None

    @property
    def ended_at(self) -> datetime:
        """When the outcome was known."""
        return self.started_at + timedelta(seconds=self.took_seconds)


@dataclass(frozen=True, slots=True)
class SendResult:
    """A receiver's answer, or why there is none; `error` is None if the receiver accepted the status.

    `retry_after_seconds` is the delay that its Retry-After asks for. `failed_over` names the member of a failover
    that accepted this status, if another member accepted the last one.
    """

    status_code: int | None = None
    error: str | None = None
    retry_after_seconds: float | None = None
    failed_over: Failover | None = None


class LeaseMissingError(Exception):
    """The lease ended during an attempt, before the next member of a failover was tried."""


class StatusSender(Protocol):
    """Sends statuses to receivers of one kind. Safe for any number of tasks of one loop."""

    async def post(self, delivery: DueDelivery, at: datetime) -> SendResult:
        """Send once, signed as of `at`, within the sender's own timeout; raises LeaseMissingError only."""


class Outbox(Protocol):
    """The durable side of delivery. Safe for any number of tasks of one loop; raises StoreError."""

    async def due_deliveries(
        self, *, now: datetime, limit: int, busy: frozenset[int], full_hosts: frozenset[str] = frozenset()
    ) -> list[DueDelivery]:
        """The oldest undelivered event of each receiver that is not in `busy`, if it is due at `now` (steady time).

        At most `limit`, the longest due first, and none for `full_hosts` (as in `DueDelivery.host`).
        """

    async def next_due_at(self, *, busy: frozenset[int], full_hosts: frozenset[str] = frozenset()) -> datetime | None:
        """When the next delivery is due, on steady time; None = none is pending."""

    async def record_attempt(self, attempt: Attempt) -> None:
        """Add the row and apply the outcome.

        DELIVERED and GAVE_UP end this delivery; later ones of the receiver start with attempts of their own. GONE
        ends all deliveries of the receiver. FAILED sets `next_attempt_at`. With `failed_over`, later deliveries of
        the receiver begin with that member. Raises NotOwnerError if another replica has taken over the deliveries.
        """
