"""Migrates the database schema to the revision that this version needs."""

from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from shuttle.errors import SettingsError
from shuttle.store.tables import schema_release


class Schema(NamedTuple):
    """The schema of a database: alembic's revision, and the number of the release that it belongs to.

    `revision` None = there are no tables. `release` None = the schema is older than the table `schema_release`.
    """

    revision: str | None
    release: int | None


class Migrations:
    """All migrations of this version."""

    def __init__(self) -> None:
        from alembic.config import Config  # noqa: PLC0415 - takes 80 ms, needed at a start only
        from alembic.script import ScriptDirectory  # noqa: PLC0415

        self._config = Config()
        self._config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        self._script = ScriptDirectory.from_config(self._config)

    @property
    def head(self) -> str:
        """The revision that this version needs."""
        return str(self._script.get_current_head())

    @property
    def release(self) -> int:
        """The number of the release whose schema this version needs."""
        release: int = self._script.get_revision(self.head).module.release
        return release

    def know(self, schema: Schema) -> bool:
        """Whether the schema is that of this version or of an older one."""
        return schema.revision is None or schema.revision in {known.revision for known in self._script.walk_revisions()}

    def run(self, connection: sa.Connection) -> None:
        """Run those that are missing: all in the connection's transaction, if it has one, else each in its own."""
        from alembic import command  # noqa: PLC0415

        self._config.attributes["connection"] = connection
        command.upgrade(self._config, "head")


def read_schema(connection: sa.Connection) -> Schema:
    """The schema of the database."""
    from alembic.migration import MigrationContext  # noqa: PLC0415

    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None or not sa.inspect(connection).has_table(schema_release.name):
        return Schema(revision, None)
    return Schema(revision, connection.execute(sa.select(schema_release.c.release)).scalar_one())


def bring_up_to_date(engine: sa.Engine) -> str:
    """Run all missing migrations of an SQLite database in one transaction; returns its new revision.

    A schema of a newer version is refused: one process serves from the file, so no two versions have to share it, and
    the older one would leave the newer one's columns empty.

    Raises:
        SQLAlchemyError: the database cannot be used.
        SettingsError: a newer version of the shuttle has migrated it.
    """
    migrations = Migrations()
    with engine.begin() as connection:
        schema = read_schema(connection)
        if not migrations.know(schema):
            raise SettingsError(
                f"A newer version of the shuttle has migrated the database (revision {schema.revision}):"
                " start that version, or restore the backup that was made before the upgrade."
            )
        migrations.run(connection)
    return migrations.head
