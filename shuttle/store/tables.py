"""The tables. `migrations/` creates them; a test compares both.

Columns on steady time (see `shuttle.clock`) are those named `…_steady_at`, and `deadline_at`, `next_attempt_at`,
`asked_until`, `last_slot_at` and `announced_at`.
"""

import sqlalchemy as sa

from shuttle.store.column_types import Id, Instant

metadata = sa.MetaData()

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


def _part_of_builds(name: str, where: str, *columns: str, unique: bool = False) -> sa.Index:
    """An index of the builds that fulfil the condition."""
    condition = sa.text(where)
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

# Builds that this service still has to run, and unfinished ones that others run. SQLite uses the indexes of the same
# names only for a literal.
TO_RUN = sa.and_(builds.c.finished_at.is_(None), builds.c.api != sa.literal_column("'record'"))
OPEN_RECORDS = sa.and_(builds.c.finished_at.is_(None), builds.c.api == sa.literal_column("'record'"))

events = sa.Table(
    "events",
    metadata,
    sa.Column("event_id", Id, primary_key=True, autoincrement=True),
    sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("webhook_id", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.UniqueConstraint("build_uuid", "sequence"),
)


def _endpoint_columns() -> list[sa.schema.SchemaItem]:
    """The columns of both receivers and sinks.

    `place` is the index in the request, `wire` the format of what is sent (standard or legacy).
    """
    return [
        sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("wire", sa.Text, nullable=False, server_default="standard"),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("target", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("last_error", sa.Text),
        sa.Column("failing_since", Instant),
        sa.Column("ended_at", Instant),
        sa.Column("member", sa.Integer, nullable=False, server_default="0"),
        sa.Column("failovers", sa.JSON, nullable=False, server_default="[]"),
        sa.UniqueConstraint("build_uuid", "place"),
    ]


receivers = sa.Table(
    "receivers",
    metadata,
    sa.Column("receiver_id", Id, primary_key=True, autoincrement=True),
    *_endpoint_columns(),
    sa.Column("asked_until", Instant),
)

sinks = sa.Table(
    "sinks",
    metadata,
    sa.Column("sink_id", Id, primary_key=True, autoincrement=True),
    *_endpoint_columns(),
    sa.Column("acked_offset", sa.BigInteger, nullable=False, server_default="0"),
    sa.Index(
        "sinks_open",
        "build_uuid",
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    ),
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("delivery_id", Id, primary_key=True, autoincrement=True),
    sa.Column("receiver_id", Id, sa.ForeignKey("receivers.receiver_id"), nullable=False),
    sa.Column("event_id", Id, sa.ForeignKey("events.event_id"), nullable=False),
    # A copy from `builds`, so that an index can have it beside the state.
    sa.Column("app_id", sa.Text, nullable=False, server_default=""),
    sa.Column("state", sa.Text, nullable=False, server_default="pending"),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_attempt_at", Instant),
    sa.Column("delivered_at", Instant),
    sa.Column("queued_steady_at", Instant),
    sa.Column("last_error", sa.Text),
    # For dropping records: for each deleted row, SQLite searches rows that refer to it.
    sa.Index("deliveries_of_receiver", "receiver_id"),
    sa.Index("deliveries_of_event", "event_id"),
    # For the lists of operators, and for replays.
    sa.Index("deliveries_of_app", "app_id", "state", "delivery_id"),
    sa.Index("deliveries_by_state", "state", "delivery_id"),
    # Pending ones in the order of their attempts: the dispatcher reads those that are due, not all that wait.
    sa.Index(
        "deliveries_due",
        "next_attempt_at",
        "delivery_id",
        sqlite_where=sa.text("next_attempt_at IS NOT NULL"),
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    ),
    sa.Index(
        "deliveries_pending",
        "receiver_id",
        "delivery_id",
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    ),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("attempt_id", Id, primary_key=True, autoincrement=True),
    sa.Column("delivery_id", Id, sa.ForeignKey("deliveries.delivery_id"), nullable=False, index=True),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("took_seconds", sa.Float, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("status_code", sa.Integer),
    sa.Column("error", sa.Text),
)

reports = sa.Table(
    "reports",
    metadata,
    sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), primary_key=True),
    sa.Column("report_id", sa.Text, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
)

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("content_type", sa.Text, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    # None = the file was uploaded, and is in the object store; else where others have stored it.
    sa.Column("reference", sa.JSON(none_as_null=True)),
    sa.Column("artifact_id", sa.Text),
    sa.Column("state_code", sa.Integer),
    sa.Column("resumable", sa.Boolean),
    sa.Column("final", sa.Boolean),
    sa.Column("expires_at", Instant),
    sa.Column("updated_at", Instant),
    sa.Column("deleted_at", Instant),
)

variables = sa.Table(
    "variables",
    metadata,
    sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False, server_default="string"),
    # The encrypted value of a sensitive variable, whose `value` is empty.
    sa.Column("sealed", sa.LargeBinary),
    sa.Column("state_code", sa.Integer),
    sa.Column("required", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("created_at", Instant),
    sa.Column("updated_at", Instant),
)

claims = sa.Table(
    "claims",
    metadata,
    sa.Column("claim_id", Id, primary_key=True, autoincrement=True),
    sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), nullable=False),
    sa.Column("branch", sa.Text, nullable=False, server_default=""),
    sa.Column("nonce_digest", sa.Text, nullable=False),
    sa.Column("setup_digest", sa.Text, nullable=False),
    sa.Column("run_digest", sa.Text, nullable=False),
    sa.Column("with_credentials", sa.Boolean, nullable=False),
    sa.Column("claimed_at", Instant, nullable=False),
    sa.Column("begun_at", Instant),
    sa.Column("voided_at", Instant),
    sa.Column("ended_at", Instant),
    sa.Column("exit_status", sa.Integer),
    sa.Index("claims_of_build", "build_uuid"),
    sa.Index("claims_by_setup_token", "setup_digest"),
    sa.Index("claims_by_run_token", "run_digest"),
)

# A stream is identified by its claim, so a claim's row is never reused for another attempt.
log_segments = sa.Table(
    "log_segments",
    metadata,
    sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("claim_id", Id, nullable=False),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("raw_start", sa.BigInteger, nullable=False),
    sa.Column("raw_stop", sa.BigInteger, nullable=False),
    sa.Column("raw_digest", sa.Text, nullable=False),
    sa.Column("text_bytes", sa.BigInteger, nullable=False),
)

# Parts of logs that are in the object store while their builds run. `stored_at` None = the object may exist, but is not
# read: it is being stored, or a larger piece has replaced it. One of a build's pieces has the newest checkpoint that
# they reach.
log_pieces = sa.Table(
    "log_pieces",
    metadata,
    sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), primary_key=True),
    sa.Column("offset_bytes", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("size_bytes", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("stored_at", Instant),
    sa.Column("checkpoint", sa.JSON(none_as_null=True)),
)

# The states of a build: the stages that its pipeline reports, and the codes that its steps or another CI system report.
# `begin_id` and `end_id` are the ids of an agent's calls. `raw_start` and `raw_stop` are offsets in the stream of the
# stage's claim, `log_start` and `log_stop` those of the log to which they lead: they are recorded with the log's bytes.
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

# No foreign key, because the build is not recorded yet.
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
