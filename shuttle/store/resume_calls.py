"""The call to the CI system that is to resume a record: it goes through the outbox, as the record's statuses do."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from shuttle.build import Build
from shuttle.delivery import DeliveryState
from shuttle.events import RESUME_EVENT
from shuttle.outgoing.endpoints import EndpointState, PayloadFormat
from shuttle.store.new_build import NewEndpoint
from shuttle.store.tables import deliveries, events, receivers
from shuttle.store.tx import Topic, Tx

# Before the first status: the numbers of statuses do not change by the call.
_SEQUENCE = 0


@dataclass(frozen=True, slots=True)
class NewCall:
    """The receiver of the call, whose format is RESUME; `body` makes the JSON that it gets, from the new record."""

    receiver: NewEndpoint
    body: Callable[[Build], bytes]


@dataclass(frozen=True, slots=True)
class ResumeCall:
    """How far the call is. `delivered_at` None = the CI system has not accepted it."""

    delivered_at: datetime | None
    last_error: str | None


def record_call(tx: Tx, build: Build, new: NewCall) -> None:
    """Record the call of a new record; it is due now."""
    last = sa.select(sa.func.coalesce(sa.func.max(receivers.c.place), -1))
    place = tx.execute(last.where(receivers.c.build_uuid == build.build_uuid)).scalar_one() + 1
    endpoint = {"kind": new.receiver.kind, "host": new.receiver.host, "target": new.receiver.target}
    own = {"build_uuid": build.build_uuid, "place": place, "wire": new.receiver.payload_format}
    tx.execute(receivers.insert(), {**endpoint, **own, "state": EndpointState.LIVE})
    event = {"build_uuid": build.build_uuid, "sequence": _SEQUENCE, "status": RESUME_EVENT, "created_at": tx.now.at}
    tx.execute(events.insert(), {**event, "webhook_id": f"msg_{uuid.uuid4().hex}", "body": new.body(build)})
    ids = (
        sa.select(receivers.c.receiver_id, events.c.event_id)
        .join(events, events.c.build_uuid == receivers.c.build_uuid)
        .where(receivers.c.build_uuid == build.build_uuid, receivers.c.place == place)
        .where(events.c.sequence == _SEQUENCE)
    )
    receiver_id, event_id = tx.execute(ids).one()
    due = {"app_id": build.app_id, "next_attempt_at": tx.now.steady, "queued_steady_at": tx.now.steady}
    tx.execute(deliveries.insert(), {"receiver_id": receiver_id, "event_id": event_id, **due})
    tx.notify(Topic.DELIVERIES)


def cancel_call(tx: Tx, build_uuid: str) -> None:
    """Do not call any more: the record has begun, or has ended. An attempt that is under way is not recorded as due.

    The notice names the build, so that dispatchers do not send what they have read before.
    """
    mine = (receivers.c.build_uuid == build_uuid, receivers.c.wire == PayloadFormat.RESUME)
    receiver_ids = tx.execute(sa.select(receivers.c.receiver_id).where(*mine).with_for_update(key_share=True))
    ids = list(receiver_ids.scalars())
    if not ids:
        return
    pending = (deliveries.c.receiver_id.in_(ids), deliveries.c.state == DeliveryState.PENDING)
    given_up = {"state": DeliveryState.GAVE_UP, "next_attempt_at": None}
    if tx.execute(deliveries.update().where(*pending).values(given_up)).rowcount:
        ended = {"state": EndpointState.GAVE_UP, "ended_at": tx.now.at}
        tx.execute(receivers.update().where(receivers.c.receiver_id.in_(ids)).values(ended))
        tx.notify(Topic.DELIVERIES, build_uuid)


def call_of(tx: Tx, build_uuid: str) -> ResumeCall | None:
    """The call of the record; None = its request named no URL."""
    query = (
        sa.select(deliveries.c.delivered_at, deliveries.c.last_error)
        .join(receivers, receivers.c.receiver_id == deliveries.c.receiver_id)
        .where(receivers.c.build_uuid == build_uuid, receivers.c.wire == PayloadFormat.RESUME)
    )
    row = tx.execute(query).first()
    return None if row is None else ResumeCall(*row)
