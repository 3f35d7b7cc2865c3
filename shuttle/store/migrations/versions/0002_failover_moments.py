"""The times of failovers, and the member of a failover that a receiver of statuses uses.

Revision 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("receivers", sa.Column("member", sa.Integer(), server_default="0", nullable=False))
    for table in ("receivers", "sinks"):
        op.add_column(table, sa.Column("failovers", sa.JSON(), server_default="[]", nullable=False))
