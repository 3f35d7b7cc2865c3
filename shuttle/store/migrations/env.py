"""Alembic's entry point: runs the migrations on the connection that `migrate` opened."""

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context

from shuttle.store.column_types import Instant
from shuttle.store.tables import metadata


def render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write SQLAlchemy's types into migrations, so that they do not depend on the types of `tables`."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, Instant) else False


def record_release(ctx: Any, step: Any, heads: Any, run_args: Any) -> None:  # noqa: ARG001 - alembic's signature
    """Record the migration's release, in its transaction."""
    release = getattr(context.script.get_revision(step.up_revision_id).module, "release", None)
    if release is not None:
        ctx.connection.execute(sa.text("UPDATE schema_release SET release = :release"), {"release": release})


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    render_item=render_item,
    on_version_apply=record_release,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
