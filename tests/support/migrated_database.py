"""A database without builds, migrated once per process: migrations take 80 ms, and most tests need a database."""

from pathlib import Path
from tempfile import TemporaryDirectory

from shuttle.clock import Clock
from shuttle.store.sqlite import SqliteDatabase

_migrated: list[bytes] = []


async def write_migrated_database(path: Path) -> None:
    """Write the file of a migrated database without builds."""
    if not _migrated:
        with TemporaryDirectory() as folder:
            database = SqliteDatabase(Path(folder) / "shuttle.db", Clock())
            try:
                await database.migrate()
            finally:
                await database.close()
            _migrated.append((Path(folder) / "shuttle.db").read_bytes())
    path.write_bytes(_migrated[0])
