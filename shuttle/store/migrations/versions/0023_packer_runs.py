"""The runs of requests by packer over REST.

Revision 0023, after 0022.
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None
release = 1


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "packer_runs",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, autoincrement=True),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("build_uuid", sa.Text(), nullable=False),
        sa.Column("fields", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
        sa.ForeignKeyConstraint(["build_uuid"], ["builds.build_uuid"]),
        sa.UniqueConstraint("build_uuid"),
        sa.UniqueConstraint("request_id", "run"),
    )
