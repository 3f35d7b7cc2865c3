"""The tables of the build state record."""

import sqlalchemy as sa

from shuttle.store.column_types import Id, Instant
from shuttle.store.tables.metadata import metadata

# The states of a build: the stages that its pipeline reports, and the codes that its steps or another CI system report.
# `begin_id` and `end_id` are the ids of an agent's calls. `raw_start` and `raw_stop` are offsets in the stream of the
# stage's claim, `log_start` and `log_stop` the same places in the log. The latter are recorded together with the bytes
# of the log before them.
states = sa.Table(
    "states",
    metadata,
    sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("begin_id", sa.Text),
    sa.Column("end_id", sa.Text),
    sa.Column("branch", sa.Text, nullable=False, server_default=""),
    sa.Column("stage", sa.Text),
    sa.Column("code", sa.Integer),
    sa.Column("status", sa.Text),
    sa.Column("exit_status", sa.Integer),
    sa.Column("message", sa.Text),
    sa.Column("began_at", Instant, nullable=False),
    sa.Column("ended_at", Instant),
    sa.Column("log_start", sa.BigInteger),
    sa.Column("log_stop", sa.BigInteger),
    sa.Column("claim_id", Id),
    sa.Column("raw_start", sa.BigInteger),
    sa.Column("raw_stop", sa.BigInteger),
    sa.Column("details", sa.JSON(none_as_null=True)),
    sa.UniqueConstraint("build_uuid", "begin_id"),
)

failures = sa.Table(
    "failures",
    metadata,
    sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state_code", sa.Integer),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("component", sa.Text),
    sa.Column("retryable", sa.Boolean, nullable=False),
    sa.Column("retry_attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column("details", sa.JSON(none_as_null=True)),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("resolved_at", Instant),
    sa.Column("resolution_notes", sa.Text),
)

# The jobs by which another CI system runs a build.
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), primary_key=True),
    sa.Column("job_id", sa.Text, primary_key=True),
    sa.Column("fields", sa.JSON, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
)

# What builds and projects refer to by an id: platforms, versions of systems, state codes and so on, by their `kind`.
# State codes and resumable states are those of a project: `scope` is its uuid.
reference = sa.Table(
    "reference",
    metadata,
    sa.Column("reference_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False, server_default=""),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("fields", sa.JSON, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("deactivated_at", Instant),
    sa.UniqueConstraint("kind", "scope", "name"),
)

# Used by the previous version only: `states` has replaced it. A later release removes it.
progress = sa.Table(
    "progress",
    metadata,
    sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), primary_key=True),
    sa.Column("progress_id", sa.Text, primary_key=True),
    sa.Column("branch", sa.Text, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("code", sa.Integer),
    sa.Column("status", sa.Text),
    sa.Column("at", Instant, nullable=False),
)

# The failed builds that are going to be resumed by themselves. `app_id` is a copy from `builds`.
auto_resumes = sa.Table(
    "auto_resumes",
    metadata,
    sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), primary_key=True),
    sa.Column("app_id", sa.Text, nullable=False),
    sa.Column("due_steady_at", Instant, nullable=False),
    sa.Index("auto_resumes_of_app", "app_id"),
)
