"""The tables of apps and builds."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from shuttle.store.column_types import Id, Instant
from shuttle.store.tables.metadata import metadata

apps = sa.Table(
    "apps",
    metadata,
    sa.Column("app_id", sa.Text, primary_key=True),
    # The API of the request that created the app; its later builds may come by the other API.
    sa.Column("api", sa.Text, nullable=False, server_default="new"),
    sa.Column("job_name", sa.Text, nullable=False, unique=True),
    sa.Column("controller", sa.Text, nullable=False, server_default=""),
    sa.Column("next_number", sa.BigInteger, nullable=False, server_default="1"),
    sa.Column("last_slot_at", Instant),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("deleted_at", Instant),
    # The last `deleted_at` for which its job was deleted; a build that was accepted later has made the job again.
    sa.Column("job_deleted_at", Instant),
    # The instance of the replica that runs the app's builds, and how often the owner has changed.
    sa.Column("owner", sa.Text),
    sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"),
    # As a project: its uuid (`build.project_id_of`; None = nobody has needed it yet), and that of its parent.
    sa.Column("project_id", sa.Text),
    sa.Column("description", sa.Text),
    sa.Column("parent_id", sa.Text),
    sa.Column("deactivated_at", Instant),
    sa.Column("updated_at", Instant),
    sa.Index("apps_by_project", "project_id"),
)


class _PlatformLabel(sa.ColumnElement[str]):
    """The label `platform` of a build, written alike in queries and in the index `builds_of_platform`.

    Its first 128 characters are all of it, except in builds from before the limit of `request/parse.py`.
    """

    type = sa.Text()
    inherit_cache = True


@compiles(_PlatformLabel, "sqlite")
def _on_sqlite(_element: _PlatformLabel, _compiler: sa.Compiled, **_options: Any) -> str:
    return "substr(json_extract(labels, '$.platform'), 1, 128)"


@compiles(_PlatformLabel, "postgresql")
def _on_postgresql(_element: _PlatformLabel, _compiler: sa.Compiled, **_options: Any) -> str:
    return "left(labels ->> 'platform', 128)"


# Both databases use the index of an expression only if the query has the same expression without parameters.
PLATFORM_LABEL = _PlatformLabel()


def _part_of_builds(
    name: str, where: str | sa.ColumnElement[bool], *columns: str | sa.ColumnElement[Any], unique: bool = False
) -> sa.Index:
    """An index of the builds that fulfil the condition."""
    condition = sa.text(where) if isinstance(where, str) else where
    return sa.Index(name, *columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


builds = sa.Table(
    "builds",
    metadata,
    sa.Column("position", Id, primary_key=True, autoincrement=True),
    sa.Column("build_uuid", sa.Text, nullable=False, unique=True),
    sa.Column("app_id", sa.Text, sa.ForeignKey("apps.app_id"), nullable=False),
    sa.Column("build_id", sa.Text, nullable=False),
    sa.Column("api", sa.Text, nullable=False, server_default="new"),
    sa.Column("plan", sa.LargeBinary, nullable=False),
    sa.Column("request_fingerprint", sa.Text, nullable=False),
    sa.Column("metadata_json", sa.Text, nullable=False, server_default="null"),
    sa.Column("human_readable_info", sa.Text),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("pipeline", sa.Text, nullable=False),
    sa.Column("serial_key", sa.Text, nullable=False),
    sa.Column("destinations", sa.JSON, nullable=False),
    sa.Column("source_url", sa.Text, nullable=False),
    sa.Column("source_sha256", sa.Text),
    sa.Column("source_bytes", sa.BigInteger),
    sa.Column("source_content_type", sa.Text),
    sa.Column("source_commit", sa.Text),
    sa.Column("source_branch", sa.Text),
    sa.Column("source_deleted_at", Instant),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("message", sa.Text),
    sa.Column("waiting_for", sa.Text),
    sa.Column("preamble", sa.Text, nullable=False, server_default=""),
    sa.Column("accepted_at", Instant, nullable=False),
    sa.Column("deadline_at", Instant, nullable=False),
    sa.Column("staging_at", Instant),
    sa.Column("staging_steady_at", Instant),
    sa.Column("staged_at", Instant),
    sa.Column("slot_at", Instant),
    sa.Column("queued_at", Instant),
    sa.Column("running_at", Instant),
    sa.Column("running_steady_at", Instant),
    sa.Column("finished_at", Instant),
    sa.Column("finished_steady_at", Instant),
    sa.Column("timeout_seconds", sa.Float, nullable=False),
    sa.Column("stop_requested_at", Instant),
    sa.Column("stop_cause", sa.Text),
    sa.Column("trigger_attempted_at", Instant),
    sa.Column("queue_item", sa.BigInteger),
    sa.Column("build_number", sa.BigInteger),
    sa.Column("claimed_at", Instant),
    sa.Column("checkpoint", sa.JSON),
    sa.Column("controller", sa.Text),
    sa.Column("report_reason", sa.Text),
    sa.Column("report_message", sa.Text),
    sa.Column("image", sa.Text),
    sa.Column("digest", sa.Text),
    sa.Column("log_bytes", sa.BigInteger),
    sa.Column("log_sha256", sa.Text),
    sa.Column("archived_at", Instant),
    sa.Column("log_deleted_at", Instant),
    sa.Column("token_digest", sa.Text),
    sa.Column("log_ending", sa.Text),
    sa.Column("sequence", sa.Integer, nullable=False, server_default="0"),
    # The build whose child this is, and the one that this one resumes.
    sa.Column("parent_uuid", sa.Text),
    sa.Column("resume_from", sa.Text),
    sa.Column("state_code", sa.Integer),
    # What callers of the build state API said of the build.
    sa.Column("record", sa.JSON(none_as_null=True)),
    # The last call about a record: one that nobody calls about any more is abandoned.
    sa.Column("called_steady_at", Instant),
    sa.Index("builds_by_id", "app_id", "build_id"),
    sa.Index("builds_by_token", "token_digest"),
    _part_of_builds("builds_by_pair", "api <> 'legacy'", "app_id", "build_id", unique=True),
    _part_of_builds("builds_to_run", "finished_at IS NULL AND api <> 'record'", "serial_key", "position"),
    _part_of_builds("builds_open_records", "finished_at IS NULL AND api = 'record'", "app_id", "position"),
    _part_of_builds("builds_by_parent", "parent_uuid IS NOT NULL", "parent_uuid"),
    _part_of_builds("builds_by_resumed", "resume_from IS NOT NULL", "resume_from"),
    _part_of_builds("builds_of_platform", PLATFORM_LABEL.is_not(None), PLATFORM_LABEL, "position"),
    _part_of_builds("builds_unarchived", "finished_at IS NOT NULL AND archived_at IS NULL", "position"),
    # Each index that a new build is in makes a POST write another page; these are changed only when a build ends.
    _part_of_builds("builds_by_end", "finished_at IS NOT NULL", "finished_at"),
    # For retention: otherwise each sweep reads all builds whose source or log was deleted long ago.
    _part_of_builds("builds_with_source", "finished_at IS NOT NULL AND source_deleted_at IS NULL", "finished_at"),
    _part_of_builds("builds_with_log", "finished_at IS NOT NULL AND log_deleted_at IS NULL", "finished_at"),
    _part_of_builds("builds_ended_by_id", "finished_at IS NOT NULL", "build_id"),
    _part_of_builds("builds_ended_of_app", "finished_at IS NOT NULL", "app_id", "state", "position"),
    _part_of_builds("builds_ended_by_state", "finished_at IS NOT NULL", "state", "position"),
)

# Builds that this service still has to run, and unfinished ones that others run. SQLite uses the indexes
# `builds_to_run` and `builds_open_records` only if the query has the value of `api` as a literal.
TO_RUN = sa.and_(builds.c.finished_at.is_(None), builds.c.api != sa.literal_column("'record'"))
OPEN_RECORDS = sa.and_(builds.c.finished_at.is_(None), builds.c.api == sa.literal_column("'record'"))

# The runs of requests by packer over REST (`web/packerd`): each is a build. `fields` are those of the request that its
# callers see.
packer_runs = sa.Table(
    "packer_runs",
    metadata,
    sa.Column("position", Id, primary_key=True, autoincrement=True),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), nullable=False, unique=True),
    sa.Column("fields", sa.JSON, nullable=False),
    sa.UniqueConstraint("request_id", "run"),
)
