"""The tables of the service itself: its replicas, its clock, its schema."""

import sqlalchemy as sa

from shuttle.store.column_types import Instant
from shuttle.store.tables.metadata import metadata

# Pending uploads (see `pending_uploads`). `build_uuid` is no foreign key, because the build is not recorded yet.
early_sources = sa.Table(
    "early_sources",
    metadata,
    sa.Column("build_uuid", sa.Text, primary_key=True),
    sa.Column("announced_at", Instant, nullable=False),
    sa.Column("holder", sa.Text, nullable=False, server_default=""),
    sa.Column("new_object", sa.Boolean, nullable=False, server_default=sa.true()),
)

# One row: the newest anchor of steady time.
steady_time = sa.Table(
    "steady_time",
    metadata,
    sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("steady_at", Instant, nullable=False),
    sa.Column("boot_id", sa.Text, nullable=False),
    sa.Column("uptime_seconds", sa.Float, nullable=False),
)

# `instance` is the uuid of one start of one process. It raises `counter` as long as it runs.
replicas = sa.Table(
    "replicas",
    metadata,
    sa.Column("instance", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("counter", sa.BigInteger, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("reach", sa.Text, nullable=False, server_default="{}"),
)

# One row: the number of the release that the schema belongs to (see `postgres_migrate`).
schema_release = sa.Table(
    "schema_release",
    metadata,
    sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("release", sa.Integer, nullable=False),
)

# At most one row. In SQLite: where the content is being moved to or, with `ended_at`, was moved to. In PostgreSQL:
# where it came from. People see `other`, so it has no password. `report` has the sums that `shuttle migrate` prints.
moves = sa.Table(
    "moves",
    metadata,
    sa.Column("move_id", sa.Text, primary_key=True),
    sa.Column("other", sa.Text, nullable=False),
    sa.Column("began_at", Instant, nullable=False),
    sa.Column("ended_at", Instant),
    sa.Column("report", sa.JSON(none_as_null=True)),
)
