"""The digest of a segment's raw bytes names its algorithm; values without a name are SHA-256.

Revision 0010, after 0009.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.alter_column("log_segments", "raw_sha256", new_column_name="raw_digest")
