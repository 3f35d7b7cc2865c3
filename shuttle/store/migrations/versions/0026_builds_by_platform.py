"""An index of the builds by their label `platform`, for lists of the builds of a platform.

Revision 0026, after 0025.
"""

import sqlalchemy as sa
from alembic import op

from shuttle.store.migrations.large_index import create_large_index

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None
release = 1


def upgrade() -> None:
    """Go forward."""
    is_postgres = op.get_bind().dialect.name == "postgresql"
    label = "(labels ->> 'platform')" if is_postgres else "json_extract(labels, '$.platform')"
    create_large_index("builds_by_platform", "builds", [sa.text(label), "position"], where=f"{label} IS NOT NULL")
