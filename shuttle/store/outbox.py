"""The outbox: status events, recorded in the transaction of the transition that causes them, and their deliveries."""

import json
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from shuttle.build import Api, Build, Status
from shuttle.delivery import DeliveryState, DueDelivery
from shuttle.errors import KeyMissingError
from shuttle.events import LEGACY_STATUSES, event_body
from shuttle.outgoing.endpoints import PayloadFormat
from shuttle.store.builds import Artifact, artifacts_of
from shuttle.store.column_types import Instant
from shuttle.store.prepared import Prepared
from shuttle.store.tables import apps, builds, deliveries, events, receivers
from shuttle.store.tx import Topic, Tx

_NEW_EVENTS = Prepared(
    events.insert().inline(), ("build_uuid", "sequence", "webhook_id", "status", "body", "created_at")
)


def emit_event(tx: Tx, build: Build, *, status: Status, building: bool) -> None:
    """Record an event, queue it for every receiver that has not ended, and make the build's pending deliveries due.

    They are due now, or at the end of a Retry-After.

    `build` is the row after the transition; a final event includes its artifacts. Receivers of the older API were sent
    `pending` when the build was accepted, because their users can neither stop nor read a build before that status.
    """
    if status is Status.PENDING and build.api is Api.LEGACY:
        return
    artifacts = artifacts_of(tx, build.build_uuid) if build.state.final else None
    event = _event(build, status=status, building=building, at=tx.now.at, artifacts=artifacts)
    _NEW_EVENTS.run(tx, [event])
    mine = builds.c.build_uuid == build.build_uuid
    tx.execute(builds.update().where(mine).values(sequence=event["sequence"]))
    lock_receivers(tx, receivers.c.build_uuid == build.build_uuid)
    _make_due(tx, build.build_uuid)
    _queue(tx, [build.build_uuid], event["sequence"])


def emit_first_events(tx: Tx, recorded: Sequence[tuple[Build, bool]]) -> None:
    """Record the first event of each new build, which was inserted with sequence 1.

    `recorded` has the builds, each with whether it has receivers.
    """
    _NEW_EVENTS.run(tx, [_first_event(build) for build, _ in recorded])
    with_receivers = [build.build_uuid for build, has_receivers in recorded if has_receivers]
    if with_receivers:
        _queue(tx, with_receivers, 1)


def _first_event(build: Build) -> dict[str, Any]:
    """The event `queued`, or `pending` for the older API."""
    status, building = (Status.PENDING, True) if build.api is Api.LEGACY else (Status.QUEUED, False)
    return _event(build, status=status, building=building, at=build.accepted_at, artifacts=None)


def _event(
    build: Build, *, status: Status, building: bool, at: datetime, artifacts: Sequence[Artifact] | None
) -> dict[str, Any]:
    sequence = build.sequence + 1
    return {
        "build_uuid": build.build_uuid,
        "sequence": sequence,
        "webhook_id": f"msg_{uuid.uuid4().hex}",
        "status": LEGACY_STATUSES.get(status, status) if build.api is Api.LEGACY else status,
        "body": event_body(build, status=status, building=building, at=at, sequence=sequence, artifacts=artifacts),
        "created_at": at,
    }


def _queue(tx: Tx, build_uuids: Sequence[str], sequence: int) -> None:
    """Queue the event with this sequence for the builds' receivers of statuses, except those that have ended."""
    now = tx.now.steady
    due_at = _due_at(receivers.c.asked_until, now)
    rows = (
        sa.select(receivers.c.receiver_id, events.c.event_id, builds.c.app_id, due_at, sa.literal(now, Instant))
        .join(events, events.c.build_uuid == receivers.c.build_uuid)
        .join(builds, builds.c.build_uuid == receivers.c.build_uuid)
        .where(receivers.c.build_uuid.in_(build_uuids), events.c.sequence == sequence, receivers.c.ended_at.is_(None))
        .where(receivers.c.wire != PayloadFormat.RESUME)
        .order_by(events.c.event_id, receivers.c.place)
    )
    columns = ["receiver_id", "event_id", "app_id", "next_attempt_at", "queued_steady_at"]
    tx.execute(deliveries.insert().from_select(columns, rows))
    tx.notify(Topic.DELIVERIES)


def lock_receivers(tx: Tx, which: sa.ColumnElement[bool]) -> None:
    """Lock receivers until the transaction ends: a new event and a finished attempt change the same deliveries."""
    query = sa.select(receivers.c.receiver_id).where(which).order_by(receivers.c.receiver_id)
    tx.execute(query.with_for_update(key_share=True)).all()


def _make_due(tx: Tx, build_uuid: str) -> None:
    mine = sa.select(receivers.c.receiver_id).where(receivers.c.build_uuid == build_uuid)
    backlog = (deliveries.c.receiver_id.in_(mine), deliveries.c.state == DeliveryState.PENDING)
    asked = sa.select(receivers.c.asked_until).where(receivers.c.receiver_id == deliveries.c.receiver_id)
    due_at = _due_at(asked.scalar_subquery(), tx.now.steady)
    tx.execute(deliveries.update().where(*backlog).values(next_attempt_at=due_at))


def _due_at(asked_until: sa.ColumnElement[datetime | None], now: datetime) -> sa.ColumnElement[datetime]:
    """Now, or the end of the receiver's Retry-After: a new event does not shorten it."""
    immediately = sa.literal(now, Instant)
    return sa.case((asked_until > immediately, asked_until), else_=immediately)


_EARLIER = deliveries.alias("earlier")
# Later deliveries of a receiver have to wait for its oldest pending one.
_IS_OLDEST = ~sa.exists().where(
    _EARLIER.c.receiver_id == deliveries.c.receiver_id,
    _EARLIER.c.state == DeliveryState.PENDING,
    _EARLIER.c.delivery_id < deliveries.c.delivery_id,
)


def due_deliveries(
    tx: Tx,
    *,
    now: datetime,
    limit: int,
    busy: frozenset[int],
    full_hosts: frozenset[str],
    unseal: Callable[[bytes], bytes],
) -> list[DueDelivery]:
    """See `shuttle.delivery.Outbox.due_deliveries`; `unseal` decrypts a receiver's target.

    A target whose key is missing makes an attempt of its own fail, not the others. It is not given up at once: while
    replicas restart one after the other with a new key, one that has the old key only may own the app.
    """
    columns = (
        deliveries.c.delivery_id,
        deliveries.c.app_id,
        deliveries.c.tries,
        receivers.c.receiver_id,
        receivers.c.wire,
        receivers.c.member,
        receivers.c.host,
        receivers.c.target,
        events.c.build_uuid,
        events.c.webhook_id,
        events.c.sequence,
        events.c.body,
        sa.func.coalesce(deliveries.c.queued_steady_at, events.c.created_at).label("queued_steady_at"),
    )
    query = (
        _startable(tx, columns, busy, full_hosts)
        .join(events, events.c.event_id == deliveries.c.event_id)
        .where(deliveries.c.next_attempt_at <= now)
        .limit(limit)
    )
    return [_due_delivery(row, unseal) for row in tx.execute(query)]


def _startable(tx: Tx, columns: Sequence[Any], busy: frozenset[int], full_hosts: frozenset[str]) -> Any:
    """Each receiver's oldest pending delivery, if this process owns the app; those due for the longest time first.

    Busy receivers and full hosts are left out. A process that takes no apps sends nothing.
    """
    query = (
        sa.select(*columns)
        .join(receivers, receivers.c.receiver_id == deliveries.c.receiver_id)
        .where(deliveries.c.next_attempt_at.is_not(None), _IS_OLDEST)  # only pending ones have a time
        .where(receivers.c.receiver_id.not_in(busy), receivers.c.host.not_in(full_hosts))
        .order_by(deliveries.c.next_attempt_at, deliveries.c.delivery_id)
    )
    if tx.alone:
        return query
    if not tx.takes_apps:
        return query.where(sa.false())  # this process is releasing its apps
    return query.where(deliveries.c.app_id.in_(sa.select(apps.c.app_id).where(apps.c.owner == tx.instance)))


def _due_delivery(row: Any, unseal: Callable[[bytes], bytes]) -> DueDelivery:
    target, unsendable = _opened(row.target, unseal)
    return DueDelivery(
        delivery_id=row.delivery_id,
        receiver_id=row.receiver_id,
        app_id=row.app_id,
        build_uuid=row.build_uuid,
        webhook_id=row.webhook_id,
        sequence=row.sequence,
        body=row.body,
        host=row.host,
        url=target["url"],
        headers=target["headers"],
        payload_format=PayloadFormat(row.wire),
        member=row.member,
        tries=row.tries,
        unsendable=unsendable,
        queued_steady_at=row.queued_steady_at,
    )


def _opened(sealed: bytes, unseal: Callable[[bytes], bytes]) -> tuple[dict[str, Any], str | None]:
    """The target, or an empty one and why it cannot be decrypted."""
    try:
        return json.loads(unseal(sealed)), None
    except KeyMissingError as error:
        return {"url": "", "headers": {}}, error.message


def next_due_at(tx: Tx, *, busy: frozenset[int], full_hosts: frozenset[str]) -> datetime | None:
    """See `shuttle.delivery.Outbox.next_due_at`."""
    query = _startable(tx, (deliveries.c.next_attempt_at,), busy, full_hosts).limit(1)
    due_at: datetime | None = tx.execute(query).scalar()
    return due_at
