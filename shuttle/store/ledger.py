"""The recorded state of sinks, and the list and the replay of deliveries for operators."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from shuttle.delivery import DeliveryState
from shuttle.errors import KeyMissingError
from shuttle.events import instant_text
from shuttle.outgoing.endpoints import EndpointKind, EndpointState, PayloadFormat
from shuttle.outgoing.failover import Failover
from shuttle.sinks import SinkTarget
from shuttle.store.tables import OPEN_RECORDS, TO_RUN, apps, builds, deliveries, events, receivers, sinks
from shuttle.store.tx import Topic, Tx

Unseal = Callable[[bytes], bytes]

# The newest changes are kept, and no more: if all members fail, a failover changes once a minute for a day.
_FAILOVERS_KEPT = 20


# Databases limit the number of a statement's parameters.
_AT_ONCE = 1000


def open_sinks(tx: Tx, unseal: Unseal, build_uuids: Sequence[str]) -> list[SinkTarget]:
    """The sinks of these builds that are neither done nor given up."""
    query = (
        sa.select(sinks, builds.c.app_id, builds.c.build_id, builds.c.metadata_json, builds.c.labels)
        .join(builds, builds.c.build_uuid == sinks.c.build_uuid)
        .where(sinks.c.ended_at.is_(None))
        .order_by(sinks.c.sink_id)
    )
    parts = (build_uuids[first : first + _AT_ONCE] for first in range(0, len(build_uuids), _AT_ONCE))
    rows = (row for part in parts for row in tx.execute(query.where(sinks.c.build_uuid.in_(part))))
    return [_target(row, json.loads(unseal(row.target))) for row in rows]


def _target(row: Any, target: dict[str, Any]) -> SinkTarget:
    metadata_json, build_json = row.metadata_json, ""
    if PayloadFormat(row.wire) is PayloadFormat.LEGACY:
        metadata_json, build_json = json.dumps(f"{row.labels['app']}-{row.labels['space']}"), row.metadata_json
    return SinkTarget(
        sink_id=row.sink_id,
        kind=EndpointKind(row.kind),
        build_uuid=row.build_uuid,
        app_id=row.app_id,
        build_id=row.build_id,
        metadata_json=metadata_json,
        build_json=build_json,
        url=target["url"],
        headers=target["headers"],
        acked_offset=row.acked_offset,
        member=row.member,
    )


def builds_with_open_sinks(tx: Tx) -> set[str]:
    """This process's builds that have a sink which is neither done nor given up."""
    query = sa.select(sinks.c.build_uuid).where(sinks.c.ended_at.is_(None)).distinct()
    if not tx.alone:
        query = query.join(builds, builds.c.build_uuid == sinks.c.build_uuid)
        query = query.join(apps, apps.c.app_id == builds.c.app_id).where(apps.c.owner == tx.instance)
    return set(tx.execute(query).scalars())


def has_open_sinks(tx: Tx, build_uuid: str) -> bool:
    """Whether any sink of the build is neither done nor given up."""
    query = sa.select(sinks.c.sink_id).where(sinks.c.build_uuid == build_uuid, sinks.c.ended_at.is_(None))
    return tx.execute(query.limit(1)).first() is not None


def _update_sink(tx: Tx, sink_id: int, **values: Any) -> None:
    tx.execute(sinks.update().where(sinks.c.sink_id == sink_id).values(values))


def record_sink_failure(tx: Tx, sink_id: int, error: str) -> None:
    """Record a failed attempt."""
    _update_sink(
        tx,
        sink_id,
        state=EndpointState.FAILING,
        last_error=error,
        attempts=sinks.c.attempts + 1,
        failing_since=sa.func.coalesce(sinks.c.failing_since, tx.now.at),
    )


def record_sink_done(tx: Tx, sink_id: int, offset: int) -> None:
    """Record that an attempt sent the complete log."""
    _update_sink(
        tx,
        sink_id,
        state=EndpointState.DONE,
        acked_offset=offset,
        attempts=sinks.c.attempts + 1,
        failing_since=None,
        ended_at=tx.now.at,
    )


def record_sink_live(tx: Tx, sink_id: int) -> None:
    """Record that an attempt is sending without errors."""
    _update_sink(tx, sink_id, state=EndpointState.LIVE, failing_since=None)


def record_sink_given_up(tx: Tx, sink_id: int, error: str) -> None:
    """Record that nothing more is sent to the sink."""
    _update_sink(tx, sink_id, state=EndpointState.GAVE_UP, last_error=error, ended_at=tx.now.at)


def record_sink_failover(tx: Tx, sink_id: int, failover: Failover) -> None:
    """Record that a failover continues with another member."""
    known = tx.execute(sa.select(sinks.c.failovers).where(sinks.c.sink_id == sink_id)).scalar_one()
    _update_sink(tx, sink_id, last_error=failover.why, **failover_columns(known, failover, tx.now.at))


def failover_columns(known: Sequence[Mapping[str, str]], failover: Failover, now: datetime) -> dict[str, Any]:
    """The columns of a sink or receiver after a failover; the newest _FAILOVERS_KEPT changes are kept."""
    change = {"at": instant_text(now), "to": failover.to, "why": failover.why}
    return {"member": failover.member, "failovers": [*known, change][-_FAILOVERS_KEPT:]}


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery as shown to operators; `receiver` is a host, never a URL with secrets."""

    delivery_id: int
    app_id: str
    build_id: str
    build_uuid: str
    sequence: int
    status: str
    receiver: str
    state: DeliveryState
    tries: int
    next_attempt_at: datetime | None
    last_error: str | None


def find_deliveries(
    tx: Tx, *, app_id: str | None, build_id: str | None, state: DeliveryState | None, limit: int
) -> list[DeliveryRow]:
    """Up to `limit` deliveries, newest first."""
    query = (
        sa.select(
            deliveries.c.delivery_id,
            builds.c.app_id,
            builds.c.build_id,
            builds.c.build_uuid,
            events.c.sequence,
            events.c.status,
            receivers.c.host,
            deliveries.c.state,
            deliveries.c.tries,
            deliveries.c.next_attempt_at,
            deliveries.c.last_error,
        )
        .join(receivers, receivers.c.receiver_id == deliveries.c.receiver_id)
        .join(events, events.c.event_id == deliveries.c.event_id)
        .join(builds, builds.c.build_uuid == events.c.build_uuid)
        .order_by(deliveries.c.delivery_id.desc())
        .limit(limit)
    )
    if build_id is not None:
        query = query.where(deliveries.c.delivery_id.in_(_of_build(app_id, build_id, state)))
    elif app_id is not None or state is not None:
        query = query.where(deliveries.c.delivery_id.in_(_newest(app_id, state, limit)))
    return [DeliveryRow(*row) for row in tx.execute(query)]


def _newest(app_id: str | None, state: DeliveryState | None, limit: int) -> sa.CompoundSelect[tuple[int]]:
    """The newest deliveries in each state: every part is read from an index."""
    newest = sa.select(deliveries.c.delivery_id).order_by(deliveries.c.delivery_id.desc()).limit(limit)
    if app_id is not None:
        newest = newest.where(deliveries.c.app_id == app_id)
    states = DeliveryState if state is None else (state,)
    parts = [newest.where(deliveries.c.state == each.value).subquery() for each in states]
    return sa.union_all(*(sa.select(part.c.delivery_id) for part in parts))


def _of_build(app_id: str | None, build_id: str, state: DeliveryState | None) -> sa.Select[tuple[int]]:
    """All deliveries of the builds with this id: a few, unless the builds of many apps have it."""
    same_id = sa.select(builds.c.build_uuid).where(builds.c.build_id == build_id)
    if app_id is not None:
        same_id = same_id.where(builds.c.app_id == app_id)
    # Each part is read from an index: of ended builds by their ids, of builds to run, of open records.
    found = sa.union_all(*(same_id.where(part) for part in (builds.c.finished_at.is_not(None), TO_RUN, OPEN_RECORDS)))
    of_builds = sa.select(events.c.event_id).where(events.c.build_uuid.in_(found))
    query = sa.select(deliveries.c.delivery_id).where(deliveries.c.event_id.in_(of_builds))
    # Without `+ ""`, SQLite would read all deliveries in this state from the index of states.
    return query if state is None else query.where((deliveries.c.state + "") == state.value)


class Replayed(NamedTuple):
    """Deliveries that a replay has chosen, and which of them it left alone, because their receivers' key is missing."""

    chosen: Sequence[int]
    unsendable: Collection[int]


def replay_delivery(tx: Tx, delivery_id: int, unseal: Unseal) -> Replayed:
    """Make a delivery due now, in whatever state it is, with a new schedule; nothing is chosen if it does not exist."""
    mine = deliveries.c.delivery_id == delivery_id
    chosen = tx.execute(sa.select(deliveries.c.delivery_id).where(mine)).scalars().all()
    return _replay(tx, chosen, unseal)


def replay_batch(tx: Tx, unseal: Unseal, *, app_id: str, build_id: str | None, after: int, limit: int) -> Replayed:
    """Make up to `limit` given-up deliveries with ids above `after` due now, the oldest first."""
    given_up = sa.select(deliveries.c.delivery_id).where(deliveries.c.delivery_id > after)
    if build_id is None:
        given_up = given_up.where(deliveries.c.app_id == app_id, deliveries.c.state == DeliveryState.GAVE_UP.value)
    else:
        given_up = given_up.where(deliveries.c.delivery_id.in_(_of_build(app_id, build_id, DeliveryState.GAVE_UP)))
    chosen = tx.execute(given_up.order_by(deliveries.c.delivery_id).limit(limit)).scalars().all()
    return _replay(tx, chosen, unseal, deliveries.c.state == DeliveryState.GAVE_UP)


def _replay(tx: Tx, chosen: Sequence[int], unseal: Unseal, *unless_changed: sa.ColumnElement[bool]) -> Replayed:
    unsendable = _unsendable(tx, chosen, unseal)
    which = (deliveries.c.delivery_id.in_([each for each in chosen if each not in unsendable]), *unless_changed)
    its_receiver = sa.select(deliveries.c.receiver_id).where(*which)
    reopened = receivers.c.receiver_id.in_(its_receiver)
    tx.execute(receivers.update().where(reopened).values(state=EndpointState.BEHIND, ended_at=None, asked_until=None))
    tx.notify(Topic.DELIVERIES)
    values = {"state": DeliveryState.PENDING, "tries": 0, "next_attempt_at": tx.now.steady}
    tx.execute(deliveries.update().where(*which).values(values))
    return Replayed(chosen, unsendable)


def _unsendable(tx: Tx, delivery_ids: Sequence[int], unseal: Unseal) -> set[int]:
    """Those whose receivers' targets cannot be decrypted: if they were pending, the next start would be refused."""
    query = (
        sa.select(deliveries.c.delivery_id, receivers.c.target)
        .join(receivers, receivers.c.receiver_id == deliveries.c.receiver_id)
        .where(deliveries.c.delivery_id.in_(delivery_ids))
    )
    return {delivery_id for delivery_id, target in tx.execute(query) if not _opens(target, unseal)}


def _opens(sealed: bytes, unseal: Unseal) -> bool:
    try:
        unseal(sealed)
    except KeyMissingError:
        return False
    return True
