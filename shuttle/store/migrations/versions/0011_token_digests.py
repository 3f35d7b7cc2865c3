"""Indexes for the digests of tokens: a token is looked up by its digest, so an unknown uuid costs what a known one does.

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
