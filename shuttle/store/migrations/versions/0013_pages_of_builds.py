"""Indexes for pages of builds: without them, each page sorted all builds of its app, or read all builds.

Revision 0013, after 0012.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    ended = sa.text("finished_at IS NOT NULL")
    for name, columns in (
        ("builds_ended_of_app", ["app_id", "state", "position"]),
        ("builds_ended_by_state", ["state", "position"]),
    ):
        op.create_index(name, "builds", columns, sqlite_where=ended, postgresql_where=ended)
