"""The release that the schema belongs to, by which an older version recognizes a schema that it can serve from.

Revision 0019, after 0018.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None
release = 1


def upgrade() -> None:
    """Go forward."""
    table = op.create_table(
        "schema_release",
        sa.Column("only", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("only"),
    )
    op.bulk_insert(table, [{"only": 1, "release": release}])
