"""The migrations create the tables that the code uses, on both databases."""

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from shuttle.store import Database, Tx
from shuttle.store.tables import metadata


async def test_migrations_and_tables_agree(database: Database):
    def differences(tx: Tx) -> Any:
        return compare_metadata(MigrationContext.configure(tx.connection), metadata)

    assert await database.run(differences) == []


async def test_row_ids_have_64_bits(database: Database):
    """Columns and their sequences: 32 bits are exhausted after two billion rows."""

    def narrow(tx: Tx) -> list[str]:
        if tx.connection.dialect.name == "sqlite":
            return []
        query = "SELECT sequencename FROM pg_sequences WHERE data_type <> 'bigint'::regtype"
        return [*tx.connection.exec_driver_sql(query).scalars()]

    assert await database.run(narrow) == []
