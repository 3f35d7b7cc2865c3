"""Brings the schema to where this version of the shuttle needs it."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from shuttle.store.troubles import translate_error


def migrate(engine: sa.Engine) -> str:
    """Run every migration that is missing; returns the revision that the database now has.

    Raises StoreError.
    """
    from alembic import command  # noqa: PLC0415 - 80 ms that only a start pays
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except SQLAlchemyError as error:
        raise translate_error(error) from error
    head = ScriptDirectory.from_config(config).get_current_head()
    return str(head)
