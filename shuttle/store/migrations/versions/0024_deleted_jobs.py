"""When the Jenkins job of an app was deleted.

Revision 0024, after 0023.
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None
release = 1


def upgrade() -> None:
    """Go forward."""
    op.add_column("apps", sa.Column("job_deleted_at", sa.DateTime(timezone=True), nullable=True))
