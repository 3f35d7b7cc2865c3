"""Replicas and the apps that they own. The table `replicas` is replaced: no earlier version has used it.

Revision 0014, after 0013.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.drop_table("replicas")
    op.create_table(
        "replicas",
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("instance"),
    )
    op.add_column("apps", sa.Column("owner", sa.Text(), nullable=True))
    op.add_column("apps", sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False))
