"""The tables of what is sent: events, their receivers and deliveries, and the sinks of logs."""

import sqlalchemy as sa

from shuttle.store.column_types import Id, Instant
from shuttle.store.tables.metadata import metadata

events = sa.Table(
    "events",
    metadata,
    sa.Column("event_id", Id, primary_key=True, autoincrement=True),
    sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("webhook_id", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.UniqueConstraint("build_uuid", "sequence"),
)


def _endpoint_columns() -> list[sa.schema.SchemaItem]:
    """The columns of both receivers and sinks.

    `place` is the index in the request, `wire` the format of what is sent (standard or legacy).
    """
    return [
        sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("wire", sa.Text, nullable=False, server_default="standard"),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("target", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("last_error", sa.Text),
        sa.Column("failing_since", Instant),
        sa.Column("ended_at", Instant),
        sa.Column("member", sa.Integer, nullable=False, server_default="0"),
        sa.Column("failovers", sa.JSON, nullable=False, server_default="[]"),
        sa.UniqueConstraint("build_uuid", "place"),
    ]


receivers = sa.Table(
    "receivers",
    metadata,
    sa.Column("receiver_id", Id, primary_key=True, autoincrement=True),
    *_endpoint_columns(),
    sa.Column("asked_until", Instant),
)

sinks = sa.Table(
    "sinks",
    metadata,
    sa.Column("sink_id", Id, primary_key=True, autoincrement=True),
    *_endpoint_columns(),
    sa.Column("acked_offset", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index(
        "sinks_open",
        "build_uuid",
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    ),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("delivery_id", Id, primary_key=True, autoincrement=True),
    sa.Column("receiver_id", Id, sa.ForeignKey("receivers.receiver_id"), nullable=False),
    sa.Column("event_id", Id, sa.ForeignKey("events.event_id"), nullable=False),
    # A copy from `builds`, so that an index can have it beside the state.
    sa.Column("app_id", sa.Text, nullable=False, server_default=""),
    sa.Column("state", sa.Text, nullable=False, server_default="pending"),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_attempt_at", Instant),
    sa.Column("delivered_at", Instant),
    sa.Column("queued_steady_at", Instant),
    sa.Column("last_error", sa.Text),
    # For dropping records: for each deleted row, SQLite searches rows that refer to it.
    sa.Index("deliveries_of_receiver", "receiver_id"),
    sa.Index("deliveries_of_event", "event_id"),
    # For the lists of operators, and for replays.
    sa.Index("deliveries_of_app", "app_id", "state", "delivery_id"),
    sa.Index("deliveries_by_state", "state", "delivery_id"),
    # Pending ones in the order of their attempts: the dispatcher reads those that are due, not all that wait.
    sa.Index(
        "deliveries_due",
        "next_attempt_at",
        "delivery_id",
        sqlite_where=sa.text("next_attempt_at IS NOT NULL"),
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    ),
    sa.Index(
        "deliveries_pending",
        "receiver_id",
        "delivery_id",
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    ),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("attempt_id", Id, primary_key=True, autoincrement=True),
    sa.Column("delivery_id", Id, sa.ForeignKey("deliveries.delivery_id"), nullable=False, index=True),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("took_seconds", sa.Float, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("status_code", sa.Integer),
    sa.Column("error", sa.Text),
)
