"""Columns `builds.controller` and `replicas.reach`; `apps.controller` becomes `default` where it was empty.

A single controller has the name `default`. A build keeps its controller when its app moves to another one.

Revision 0018, after 0017.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.execute("UPDATE apps SET controller = 'default' WHERE controller = ''")
    op.add_column("builds", sa.Column("controller", sa.Text(), nullable=True))
    op.add_column("replicas", sa.Column("reach", sa.Text(), nullable=False, server_default="{}"))
