"""Steady time, which setting the clock does not change: its last value, and the instants from which limits count.

Revision 0006, after 0005. Steady time begins at the wall clock's time, so recorded instants are valid on both clocks.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "steady_time",
        sa.Column("only", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("steady_at", instant, nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("uptime_seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("only"),
    )
    for event in ("staging", "running", "finished"):
        op.add_column("builds", sa.Column(f"{event}_steady_at", instant))
        op.execute(f"UPDATE builds SET {event}_steady_at = {event}_at")  # noqa: S608 - names of columns
    op.add_column("deliveries", sa.Column("queued_steady_at", instant))
    op.execute(
        "UPDATE deliveries SET queued_steady_at ="
        " (SELECT created_at FROM events WHERE events.event_id = deliveries.event_id) WHERE state = 'pending'"
    )
