"""Indexes for pages of builds: without them, each page sorted all builds of its app, or read all builds.

Revision 0013, after 0012.
"""

from alembic import op

from shuttle.store.migrations.large_index import create_large_index

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    for name, columns in (
        ("builds_ended_of_app", ["app_id", "state", "position"]),
        ("builds_ended_by_state", ["state", "position"]),
    ):
        create_large_index(name, "builds", columns, where="finished_at IS NOT NULL")
