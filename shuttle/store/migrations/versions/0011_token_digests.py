"""Indexes for the digests of tokens: a lookup by digest costs the same for a known and for an unknown uuid.

Revision 0011, after 0010.
"""

from alembic import op

from shuttle.store.migrations.large_index import create_large_index

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    create_large_index("builds_by_token", "builds", ["token_digest"])
    create_large_index("claims_by_setup_token", "claims", ["setup_digest"])
    create_large_index("claims_by_run_token", "claims", ["run_digest"])
