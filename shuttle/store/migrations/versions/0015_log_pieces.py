"""Pieces: copies of running logs in the object store, with PostgreSQL.

Revision 0015, after 0014.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "log_pieces",
        sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), primary_key=True),
        sa.Column("offset_bytes", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("size_bytes", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("stored_at", sa.DateTime(timezone=True)),
        sa.Column("checkpoint", sa.JSON(none_as_null=True)),
    )
