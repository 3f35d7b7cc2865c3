"""Indexes for lists and replays of deliveries, for the dispatcher and for retention; and `deliveries.app_id`.

Without them, a list of an app's deliveries read all deliveries, a search for due deliveries read all pending ones, and
a sweep of retention read all ended builds. An index cannot have a column of another table, so the id is copied; this
takes about two seconds for 300,000 deliveries.

Revision 0016, after 0015.
"""

import sqlalchemy as sa
from alembic import op

from shuttle.store.migrations.large_index import create_large_index

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    # Making the indexes commits this, and a migration that was killed runs again.
    repeatable = True if op.get_bind().dialect.name == "postgresql" else None
    app_id = sa.Column("app_id", sa.Text(), nullable=False, server_default="")
    op.add_column("deliveries", app_id, if_not_exists=repeatable)
    op.execute(
        "UPDATE deliveries SET app_id = (SELECT builds.app_id FROM events"
        " JOIN builds ON builds.build_uuid = events.build_uuid WHERE events.event_id = deliveries.event_id)"
    )
    create_large_index("deliveries_of_app", "deliveries", ["app_id", "state", "delivery_id"])
    create_large_index("deliveries_by_state", "deliveries", ["state", "delivery_id"])
    pending = "next_attempt_at IS NOT NULL"
    create_large_index("deliveries_due", "deliveries", ["next_attempt_at", "delivery_id"], where=pending)
    for name, column, where in (
        ("builds_with_source", "finished_at", "finished_at IS NOT NULL AND source_deleted_at IS NULL"),
        ("builds_with_log", "finished_at", "finished_at IS NOT NULL AND log_deleted_at IS NULL"),
        ("builds_ended_by_id", "build_id", "finished_at IS NOT NULL"),
    ):
        create_large_index(name, "builds", [column], where=where)
