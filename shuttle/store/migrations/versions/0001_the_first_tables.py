"""The first tables.

Revision 0001, the first.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# 64 bits in both databases: SQLite's INTEGER has 64 bits, and SQLite assigns ids in a column of this type only.
Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "apps",
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("job_name", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("controller", sa.Text(), server_default="", nullable=False),
        sa.Column("config_digest", sa.Text(), nullable=True),
        sa.Column("next_number", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("last_slot_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("app_id"),
        sa.UniqueConstraint("job_name"),
    )
    op.create_table(
        "replicas",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "builds",
        sa.Column("position", Id, autoincrement=True, nullable=False),
        sa.Column("build_uuid", sa.Text(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("build_id", sa.Text(), nullable=False),
        sa.Column("api", sa.Text(), server_default="new", nullable=False),
        sa.Column("plan", sa.LargeBinary(), nullable=False),
        sa.Column("request_fingerprint", sa.Text(), nullable=False),
        sa.Column("metadata_json", sa.Text(), server_default="null", nullable=False),
        sa.Column("human_readable_info", sa.Text(), nullable=True),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("pipeline", sa.Text(), nullable=False),
        sa.Column("serial_key", sa.Text(), nullable=False),
        sa.Column("destinations", sa.JSON(), nullable=False),
        sa.Column("source_url", sa.Text(), nullable=False),
        sa.Column("source_sha256", sa.Text(), nullable=True),
        sa.Column("source_bytes", sa.BigInteger(), nullable=True),
        sa.Column("source_content_type", sa.Text(), nullable=True),
        sa.Column("source_deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("waiting_for", sa.Text(), nullable=True),
        sa.Column("preamble", sa.Text(), server_default="", nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("staging_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("staged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("slot_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("running_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("timeout_seconds", sa.Float(), nullable=False),
        sa.Column("stop_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stop_cause", sa.Text(), nullable=True),
        sa.Column("trigger_attempted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("queue_item", sa.BigInteger(), nullable=True),
        sa.Column("build_number", sa.BigInteger(), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("checkpoint", sa.JSON(), nullable=True),
        sa.Column("report_reason", sa.Text(), nullable=True),
        sa.Column("report_message", sa.Text(), nullable=True),
        sa.Column("image", sa.Text(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("log_bytes", sa.BigInteger(), nullable=True),
        sa.Column("log_sha256", sa.Text(), nullable=True),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("log_deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sequence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("resume_from", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["app_id"],
            ["apps.app_id"],
        ),
        sa.PrimaryKeyConstraint("position"),
        sa.UniqueConstraint("build_uuid"),
    )
    with op.batch_alter_table("builds", schema=None) as batch_op:
        batch_op.create_index(
            "builds_by_end",
            ["finished_at"],
            unique=False,
            sqlite_where=sa.text("finished_at IS NOT NULL"),
            postgresql_where=sa.text("finished_at IS NOT NULL"),
        )
        batch_op.create_index("builds_by_id", ["app_id", "build_id"], unique=False)
        batch_op.create_index(
            "builds_of_new_api",
            ["app_id", "build_id"],
            unique=True,
            sqlite_where=sa.text("api = 'new'"),
            postgresql_where=sa.text("api = 'new'"),
        )
        batch_op.create_index(
            "builds_unarchived",
            ["position"],
            unique=False,
            sqlite_where=sa.text("finished_at IS NOT NULL AND archived_at IS NULL"),
            postgresql_where=sa.text("finished_at IS NOT NULL AND archived_at IS NULL"),
        )
        batch_op.create_index(
            "builds_unfinished",
            ["serial_key", "position"],
            unique=False,
            sqlite_where=sa.text("finished_at IS NULL"),
            postgresql_where=sa.text("finished_at IS NULL"),
        )

    op.create_table(
        "artifacts",
        sa.Column("build_uuid", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["build_uuid"],
            ["builds.build_uuid"],
        ),
        sa.PrimaryKeyConstraint("build_uuid", "name"),
    )
    op.create_table(
        "events",
        sa.Column("event_id", Id, autoincrement=True, nullable=False),
        sa.Column("build_uuid", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("webhook_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["build_uuid"],
            ["builds.build_uuid"],
        ),
        sa.PrimaryKeyConstraint("event_id"),
        sa.UniqueConstraint("build_uuid", "sequence"),
    )
    op.create_table(
        "receivers",
        sa.Column("receiver_id", Id, autoincrement=True, nullable=False),
        sa.Column("build_uuid", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("wire", sa.Text(), server_default="standard", nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("target", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["build_uuid"],
            ["builds.build_uuid"],
        ),
        sa.PrimaryKeyConstraint("receiver_id"),
        sa.UniqueConstraint("build_uuid", "place"),
    )
    op.create_table(
        "reports",
        sa.Column("build_uuid", sa.Text(), nullable=False),
        sa.Column("report_id", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["build_uuid"],
            ["builds.build_uuid"],
        ),
        sa.PrimaryKeyConstraint("build_uuid", "report_id"),
    )
    op.create_table(
        "sinks",
        sa.Column("sink_id", Id, autoincrement=True, nullable=False),
        sa.Column("build_uuid", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("wire", sa.Text(), server_default="standard", nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("target", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acked_offset", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("member", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["build_uuid"],
            ["builds.build_uuid"],
        ),
        sa.PrimaryKeyConstraint("sink_id"),
        sa.UniqueConstraint("build_uuid", "place"),
    )
    with op.batch_alter_table("sinks", schema=None) as batch_op:
        batch_op.create_index(
            "sinks_open",
            ["build_uuid"],
            unique=False,
            sqlite_where=sa.text("ended_at IS NULL"),
            postgresql_where=sa.text("ended_at IS NULL"),
        )

    op.create_table(
        "variables",
        sa.Column("build_uuid", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["build_uuid"],
            ["builds.build_uuid"],
        ),
        sa.PrimaryKeyConstraint("build_uuid", "name"),
    )
    op.create_table(
        "deliveries",
        sa.Column("delivery_id", Id, autoincrement=True, nullable=False),
        sa.Column("receiver_id", Id, nullable=False),
        sa.Column("event_id", Id, nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["events.event_id"],
        ),
        sa.ForeignKeyConstraint(
            ["receiver_id"],
            ["receivers.receiver_id"],
        ),
        sa.PrimaryKeyConstraint("delivery_id"),
    )
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_index(
            "deliveries_pending",
            ["receiver_id", "delivery_id"],
            unique=False,
            sqlite_where=sa.text("state = 'pending'"),
            postgresql_where=sa.text("state = 'pending'"),
        )

    op.create_table(
        "attempts",
        sa.Column("attempt_id", Id, autoincrement=True, nullable=False),
        sa.Column("delivery_id", Id, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("took_seconds", sa.Float(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["deliveries.delivery_id"],
        ),
        sa.PrimaryKeyConstraint("attempt_id"),
    )
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_attempts_delivery_id"), ["delivery_id"], unique=False)


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_attempts_delivery_id"))

    op.drop_table("attempts")
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.drop_index(
            "deliveries_pending",
            sqlite_where=sa.text("state = 'pending'"),
            postgresql_where=sa.text("state = 'pending'"),
        )

    op.drop_table("deliveries")
    op.drop_table("variables")
    with op.batch_alter_table("sinks", schema=None) as batch_op:
        batch_op.drop_index(
            "sinks_open", sqlite_where=sa.text("ended_at IS NULL"), postgresql_where=sa.text("ended_at IS NULL")
        )

    op.drop_table("sinks")
    op.drop_table("reports")
    op.drop_table("receivers")
    op.drop_table("events")
    op.drop_table("artifacts")
    with op.batch_alter_table("builds", schema=None) as batch_op:
        batch_op.drop_index(
            "builds_unfinished",
            sqlite_where=sa.text("finished_at IS NULL"),
            postgresql_where=sa.text("finished_at IS NULL"),
        )
        batch_op.drop_index(
            "builds_unarchived",
            sqlite_where=sa.text("finished_at IS NOT NULL AND archived_at IS NULL"),
            postgresql_where=sa.text("finished_at IS NOT NULL AND archived_at IS NULL"),
        )
        batch_op.drop_index(
            "builds_of_new_api", sqlite_where=sa.text("api = 'new'"), postgresql_where=sa.text("api = 'new'")
        )
        batch_op.drop_index("builds_by_id")
        batch_op.drop_index(
            "builds_by_end",
            sqlite_where=sa.text("finished_at IS NOT NULL"),
            postgresql_where=sa.text("finished_at IS NOT NULL"),
        )

    op.drop_table("builds")
    op.drop_table("replicas")
    op.drop_table("apps")
