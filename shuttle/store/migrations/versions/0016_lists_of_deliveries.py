"""Indexes for lists and replays of deliveries, for the dispatcher and for retention; and `deliveries.app_id`.

Without them, each list of an app's deliveries read all of them, each look for due deliveries all pending ones, and each
sweep all builds that have ended. An index cannot have a column of another table, so the id is copied; this takes about
two seconds for 300,000 deliveries.

Revision 0016, after 0015.
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("deliveries", sa.Column("app_id", sa.Text(), nullable=False, server_default=""))
    op.execute(
        "UPDATE deliveries SET app_id = (SELECT builds.app_id FROM events"
        " JOIN builds ON builds.build_uuid = events.build_uuid WHERE events.event_id = deliveries.event_id)"
    )
    op.create_index("deliveries_of_app", "deliveries", ["app_id", "state", "delivery_id"])
    op.create_index("deliveries_by_state", "deliveries", ["state", "delivery_id"])
    pending = sa.text("next_attempt_at IS NOT NULL")
    columns = ["next_attempt_at", "delivery_id"]
    op.create_index("deliveries_due", "deliveries", columns, sqlite_where=pending, postgresql_where=pending)
    for name, column, where in (
        ("builds_with_source", "finished_at", "finished_at IS NOT NULL AND source_deleted_at IS NULL"),
        ("builds_with_log", "finished_at", "finished_at IS NOT NULL AND log_deleted_at IS NULL"),
        ("builds_ended_by_id", "build_id", "finished_at IS NOT NULL"),
    ):
        op.create_index(name, "builds", [column], sqlite_where=sa.text(where), postgresql_where=sa.text(where))
