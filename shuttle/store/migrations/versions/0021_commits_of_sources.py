"""The commit and the branch of a git source.

Revision 0021, after 0020.
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None
release = 1


def upgrade() -> None:
    """Go forward."""
    op.add_column("builds", sa.Column("source_commit", sa.Text(), nullable=True))
    op.add_column("builds", sa.Column("source_branch", sa.Text(), nullable=True))
