"""The failed builds that are going to be resumed by themselves.

Revision 0025, after 0024.
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None
release = 1


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "auto_resumes",
        sa.Column("build_uuid", sa.Text(), nullable=False),
        sa.Column("app_id", sa.Text(), nullable=False),
        sa.Column("due_steady_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("build_uuid"),
        sa.ForeignKeyConstraint(["build_uuid"], ["builds.build_uuid"]),
    )
    op.create_index("auto_resumes_of_app", "auto_resumes", ["app_id"])
