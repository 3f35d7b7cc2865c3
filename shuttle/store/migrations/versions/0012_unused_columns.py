"""Columns that no version has used are removed.

Revision 0012, after 0011.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_UNUSED = {
    "apps": ("generation", "config_digest"),
    "builds": ("lease_owner", "lease_until", "lease_epoch", "resume_from"),
}


def upgrade() -> None:
    """Go forward."""
    for table, columns in _UNUSED.items():
        for column in columns:
            op.drop_column(table, column)
