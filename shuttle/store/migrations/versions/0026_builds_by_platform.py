"""Makes nothing: PostgreSQL could not make its index of the label `platform` if a build had a long one; see 0027.

Revision 0026, after 0025.
"""

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None
release = 1


def upgrade() -> None:
    """Go forward."""
