"""Indexes for the digests of tokens: a lookup by digest costs the same for a known and for an unknown uuid.

Revision 0011, after 0010.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_index("builds_by_token", "builds", ["token_digest"])
    op.create_index("claims_by_setup_token", "claims", ["setup_digest"])
    op.create_index("claims_by_run_token", "claims", ["run_digest"])
