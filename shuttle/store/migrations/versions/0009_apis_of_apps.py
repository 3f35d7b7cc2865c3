"""The API that created an app: callers without a token may use apps of the older API only.

Revision 0009, after 0008.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward. An app without builds was made by the older API, which takes a number before it records a build."""
    op.add_column("apps", sa.Column("api", sa.Text(), server_default="new", nullable=False))
    op.execute(
        "UPDATE apps SET api = coalesce((SELECT builds.api FROM builds WHERE builds.app_id = apps.app_id"
        " ORDER BY builds.position LIMIT 1), 'legacy')"
    )
