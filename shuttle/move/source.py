"""The SQLite side of a move: the file is locked, migrated and read, and marked as moved at the end."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from shuttle.build import Build
from shuttle.clock import Clock
from shuttle.errors import MoveRefusedError
from shuttle.store.builds import builds_with_running_logs
from shuttle.store.migrate import bring_up_to_date
from shuttle.store.moves import Move, read_move
from shuttle.store.sealed import sealed_samples
from shuttle.store.sqlite import lock_file, sqlite_engine
from shuttle.store.sqlite_errors import sqlite_error
from shuttle.store.tables import artifacts, builds, moves
from shuttle.store.tx import Tx


@dataclass(frozen=True, slots=True)
class Source:
    """The locked database of a service, and its data directory."""

    path: Path
    data_dir: Path
    engine: sa.Engine
    clock: Clock

    def move(self) -> Move | None:
        """The move that the file records."""
        with self.engine.begin() as connection:
            return read_move(connection)

    def begin(self, move: Move) -> None:
        """Record that the file is being moved: from now on nobody serves from it. Durable when this returns."""
        with self.engine.begin() as connection:
            connection.execute(moves.delete())
            connection.execute(
                moves.insert(), {"move_id": move.move_id, "other": move.other, "began_at": move.began_at}
            )

    def end(self) -> None:
        """Record that the file was moved."""
        with self.engine.begin() as connection:
            connection.execute(moves.update().values(ended_at=self.clock.now()))

    def withdraw(self) -> None:
        """Let the file be served again: nothing of it has arrived."""
        with self.engine.begin() as connection:
            connection.execute(moves.delete())

    def sealed(self) -> list[bytes]:
        """Samples of encrypted values."""
        with self.engine.begin() as connection:
            return sealed_samples(Tx(connection, self.clock.moment()))

    def running_logs(self) -> list[Build]:
        """The builds whose logs are in spools."""
        with self.engine.begin() as connection:
            return builds_with_running_logs(Tx(connection, self.clock.moment()))

    def object_ids(self) -> Iterator[tuple[str, str, str, str]]:
        """Build uuid, app id, build id and artifact ("" = none) of everything that an object can be named after."""
        columns = (builds.c.build_uuid, builds.c.app_id, builds.c.build_id)
        artifact = sa.func.coalesce(artifacts.c.name, "")
        uploaded = sa.and_(artifacts.c.build_uuid == builds.c.build_uuid, artifacts.c.reference.is_(None))
        query = sa.select(*columns, artifact).join(artifacts, uploaded, isouter=True)
        with self.engine.begin() as connection:
            for row in connection.execute(query):
                yield row[0], row[1], row[2], row[3]


@contextmanager
def opened_source(path: Path, data_dir: Path) -> Iterator[Source]:
    """The database in `path`, migrated to the schema of this version.

    Raises:
        MoveRefusedError: there is no such database, or `data_dir` is not that of its service.
        DatabaseInUseError: a shuttle serves from it. SettingsError: a newer version has migrated it.
        StoreError: it cannot be read.
    """
    if not path.is_file():
        raise MoveRefusedError(f"There is no database {path}; name the file of the service that you move.")
    if not (data_dir / "spool").is_dir():
        raise MoveRefusedError(
            f"{data_dir} has no folder spool: set SHUTTLE_DATA_DIR to the directory of the service that you move."
        )
    lock = lock_file(path)
    engine = sqlite_engine(path)
    try:
        bring_up_to_date(engine)
        yield Source(path, data_dir, engine, Clock())
    except sa.exc.SQLAlchemyError as error:
        raise sqlite_error(error) from error
    finally:
        engine.dispose()
        lock.close()
