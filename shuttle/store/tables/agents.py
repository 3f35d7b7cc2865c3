"""The tables of what agents report: claims, results, files, and the log."""

import sqlalchemy as sa

from shuttle.store.column_types import Id, Instant
from shuttle.store.tables.metadata import metadata

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

# A stream is identified by its claim and its name, so a claim's row is never reused for another attempt.
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
# read: it is being stored, or a larger piece has replaced it. The pieces of a build keep one checkpoint: the newest one
# before which all bytes of the log are in pieces.
log_pieces = sa.Table(
    "log_pieces",
    metadata,
    sa.Column("build_uuid", sa.Text, sa.ForeignKey("builds.build_uuid"), primary_key=True),
    sa.Column("offset_bytes", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("size_bytes", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("stored_at", Instant),
    sa.Column("checkpoint", sa.JSON(none_as_null=True)),
)
