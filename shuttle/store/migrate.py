"""Migrates the database schema to the revision that this version needs."""

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from shuttle.errors import SettingsError

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory


def bring_up_to_date(engine: sa.Engine) -> str:
    """Run all missing migrations; returns the database's new revision.

    Raises:
        SQLAlchemyError: the database cannot be used.
        SettingsError: a newer version of the shuttle has migrated it.
    """
    from alembic import command  # noqa: PLC0415 - takes 80 ms, needed at a start only
    from alembic.config import Config  # noqa: PLC0415
    from alembic.migration import MigrationContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    script = ScriptDirectory.from_config(config)
    with engine.begin() as connection:
        _refuse_newer(MigrationContext.configure(connection).get_current_revision(), script)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return str(script.get_current_head())


def _refuse_newer(revision: str | None, script: "ScriptDirectory") -> None:
    """Raise SettingsError if this version has no migration with that revision."""
    if revision is not None and revision not in {known.revision for known in script.walk_revisions()}:
        raise SettingsError(
            f"A newer version of the shuttle has migrated the database (revision {revision}):"
            " start that version, or restore the backup that was made before the upgrade."
        )
