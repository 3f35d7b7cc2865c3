"""Indexes for the deliveries of a record that is dropped: without them each drop scanned all deliveries.

Revision 0007, after 0006.
"""

from alembic import op

from shuttle.store.migrations.large_index import create_large_index

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    create_large_index("deliveries_of_receiver", "deliveries", ["receiver_id"])
    create_large_index("deliveries_of_event", "deliveries", ["event_id"])
