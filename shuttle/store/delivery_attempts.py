"""Attempts of deliveries: recorded with what follows for the delivery, its receiver and the receiver's later ones."""

from datetime import datetime

import sqlalchemy as sa

from shuttle.delivery import Attempt, DeliveryState, Outcome
from shuttle.errors import NotOwnerError
from shuttle.outgoing.endpoints import EndpointState, PayloadFormat
from shuttle.store.ledger import failover_columns
from shuttle.store.outbox import lock_receivers
from shuttle.store.tables import apps, attempts, builds, deliveries, receivers
from shuttle.store.tx import Tx


def record_attempt(tx: Tx, attempt: Attempt) -> None:
    """See `shuttle.delivery.Outbox.record_attempt`."""
    columns = ("delivery_id", "started_at", "took_seconds", "outcome", "status_code", "error")
    mine = deliveries.c.delivery_id == attempt.delivery_id
    receiver_id = tx.execute(sa.select(deliveries.c.receiver_id).where(mine)).scalar()
    if receiver_id is None:  # the record was deleted during the attempt
        return
    if not tx.alone:
        _check_owner(tx, receiver_id)
    lock_receivers(tx, receivers.c.receiver_id == receiver_id)
    if _is_recorded(tx, attempt):
        return
    tx.execute(attempts.insert(), {name: getattr(attempt, name) for name in columns})
    pending = (deliveries.c.receiver_id == receiver_id, deliveries.c.state == DeliveryState.PENDING)
    tried = {"tries": deliveries.c.tries + 1, "last_error": attempt.error}
    receiver: dict[str, object] = {
        "attempts": receivers.c.attempts + 1,
        "last_error": attempt.error,
        "asked_until": attempt.asked_until,
    }
    if attempt.failed_over is not None:
        known = tx.execute(sa.select(receivers.c.failovers).where(receivers.c.receiver_id == receiver_id))
        receiver |= {"last_error": attempt.failed_over.why}
        receiver |= failover_columns(known.scalar_one(), attempt.failed_over, attempt.ended_at)
    if attempt.outcome is Outcome.DELIVERED:
        values = {
            **tried,
            "state": DeliveryState.DELIVERED,
            "delivered_at": attempt.started_at,
            "next_attempt_at": None,
        }
        tx.execute(deliveries.update().where(mine).values(values))
        state = _state_after_delivery(tx, receiver_id)
        receiver |= {"state": state, "failing_since": None}
        receiver |= {"ended_at": attempt.started_at if state is EndpointState.DONE else None}
    elif attempt.outcome is Outcome.GONE:
        tx.execute(deliveries.update().where(mine).values(tried))
        tx.execute(deliveries.update().where(*pending).values(state=DeliveryState.GAVE_UP, next_attempt_at=None))
        receiver |= {"state": EndpointState.GAVE_UP, "ended_at": attempt.started_at}
    else:
        # Another transaction may have cancelled it during the attempt.
        gave_up = attempt.outcome is Outcome.GAVE_UP or not _is_pending(tx, attempt.delivery_id)
        values = (
            {"state": DeliveryState.GAVE_UP, "next_attempt_at": None}
            if gave_up
            else {"next_attempt_at": _next_attempt_at(tx, receiver_id, attempt)}
        )
        tx.execute(deliveries.update().where(mine).values({**tried, **values}))
        ended = gave_up and not _has_pending(tx, receiver_id)
        receiver |= {"state": EndpointState.GAVE_UP if ended else EndpointState.FAILING}
        receiver |= {"failing_since": sa.func.coalesce(receivers.c.failing_since, attempt.started_at)}
    tx.execute(receivers.update().where(receivers.c.receiver_id == receiver_id).values(receiver))


def _check_owner(tx: Tx, receiver_id: int) -> None:
    """Keep other replicas from taking the app of the receiver. Raises NotOwnerError if it is taken, or gone."""
    query = (
        sa.select(apps.c.owner)
        .join(builds, builds.c.app_id == apps.c.app_id)
        .join(receivers, receivers.c.build_uuid == builds.c.build_uuid)
        .where(receivers.c.receiver_id == receiver_id)
        .with_for_update(of=apps, key_share=True, read=True)
    )
    if tx.execute(query).scalar() != tx.instance:
        raise NotOwnerError


def _is_recorded(tx: Tx, attempt: Attempt) -> bool:
    """Whether the attempt is recorded already: callers repeat it if the response to its COMMIT was lost."""
    same = (attempts.c.delivery_id == attempt.delivery_id, attempts.c.started_at == attempt.started_at)
    return tx.execute(sa.select(attempts.c.attempt_id).where(*same).limit(1)).first() is not None


def _next_attempt_at(tx: Tx, receiver_id: int, attempt: Attempt) -> datetime | None:
    """The attempt's own time, unless a new event during the attempt made all deliveries due (see `outbox`)."""
    newest_event_at: datetime | None = tx.execute(
        sa.select(sa.func.max(deliveries.c.queued_steady_at)).where(
            deliveries.c.receiver_id == receiver_id, deliveries.c.state == DeliveryState.PENDING
        )
    ).scalar()
    if newest_event_at is not None and newest_event_at > attempt.began_steady_at:
        return max(newest_event_at, attempt.asked_until or newest_event_at)
    return attempt.next_attempt_at


def _state_after_delivery(tx: Tx, receiver_id: int) -> EndpointState:
    """`behind` with pending deliveries; without any, `done` if the build sends it nothing more and `live` if not."""
    finished = (
        sa.select(builds.c.finished_at, receivers.c.wire)
        .join(receivers, receivers.c.build_uuid == builds.c.build_uuid)
        .where(receivers.c.receiver_id == receiver_id)
    )
    if _has_pending(tx, receiver_id):
        return EndpointState.BEHIND
    finished_at, wire = tx.execute(finished).one()
    return EndpointState.LIVE if finished_at is None and wire != PayloadFormat.RESUME else EndpointState.DONE


def _is_pending(tx: Tx, delivery_id: int) -> bool:
    state = sa.select(deliveries.c.state).where(deliveries.c.delivery_id == delivery_id)
    return DeliveryState(tx.execute(state).scalar_one()) is DeliveryState.PENDING


def _has_pending(tx: Tx, receiver_id: int) -> bool:
    pending = sa.select(deliveries.c.delivery_id).where(
        deliveries.c.receiver_id == receiver_id, deliveries.c.state == DeliveryState.PENDING
    )
    return tx.execute(pending.limit(1)).first() is not None
