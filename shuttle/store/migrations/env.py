"""Alembic's entry point: runs the migrations on the connection that `migrate` opened."""

from typing import Any, Literal

from alembic import context

from shuttle.store.column_types import Instant
from shuttle.store.tables import metadata


def render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write SQLAlchemy's types into migrations, so that they do not depend on the types of `tables`."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, Instant) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    render_item=render_item,
)
with context.begin_transaction():
    context.run_migrations()
