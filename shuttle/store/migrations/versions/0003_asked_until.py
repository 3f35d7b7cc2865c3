"""The end of the Retry-After of a receiver of statuses.

Revision 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("receivers", sa.Column("asked_until", sa.DateTime(timezone=True)))
