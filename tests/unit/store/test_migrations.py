"""The migrations make exactly the tables that the code uses."""

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from shuttle.store.migrate import migrate
from shuttle.store.tables import metadata


def test_migrations_and_tables_agree(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db")
    assert migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_migrating_twice_changes_nothing(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db")
    assert migrate(engine) == migrate(engine)
    engine.dispose()
