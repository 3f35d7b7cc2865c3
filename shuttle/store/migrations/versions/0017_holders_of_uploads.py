"""Columns `early_sources.holder` and `new_object`: the row is the lock of an upload in all processes.

A registration of an earlier version has an empty holder, and always belongs to a new object.

Revision 0017, after 0016.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("early_sources", sa.Column("holder", sa.Text(), nullable=False, server_default=""))
    op.add_column("early_sources", sa.Column("new_object", sa.Boolean(), nullable=False, server_default=sa.true()))
