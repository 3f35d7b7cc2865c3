"""The migrations create the tables that the code uses, on both databases."""

import time
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from shuttle.store import Database, Tx
from shuttle.store.probe import clock_difference_seconds
from shuttle.store.tables import metadata
from tests.support.clock import SetClock


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


async def test_the_clock_of_a_server_is_compared_with_ours(database: Database, clock: SetClock):
    ahead_seconds = await database.run(clock_difference_seconds)
    assert (ahead_seconds == 0) if database.alone else abs(clock.now().timestamp() + ahead_seconds - time.time()) < 60
