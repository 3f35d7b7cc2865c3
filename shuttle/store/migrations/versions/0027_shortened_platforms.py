"""An index of the builds by their label `platform`, for lists of the builds of a platform.

It has the first 128 characters of the label: PostgreSQL refuses a row whose part of an index is longer than 2,704
bytes, and this fails the POSTs of other callers in the same transaction. It replaces the index that 0026 has made.

Revision 0027, after 0026.
"""

import sqlalchemy as sa
from alembic import op

from shuttle.store.migrations.large_index import create_large_index, drop_large_index

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None
release = 1


def upgrade() -> None:
    """Go forward."""
    is_postgres = op.get_bind().dialect.name == "postgresql"
    label = "left(labels ->> 'platform', 128)" if is_postgres else "substr(json_extract(labels, '$.platform'), 1, 128)"
    create_large_index("builds_of_platform", "builds", [sa.text(label), "position"], where=f"{label} IS NOT NULL")
    drop_large_index("builds_by_platform", "builds")
