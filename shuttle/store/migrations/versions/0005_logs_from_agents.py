"""Claims with their own tokens, the recorded order of a log's segments, and the progress of stages.

Revision 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# 64 bits in both databases: SQLite's INTEGER has 64 bits, and SQLite assigns ids in a column of this type only.
Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Go forward."""
    op.add_column("builds", sa.Column("token_digest", sa.Text(), nullable=True))
    op.add_column("builds", sa.Column("log_ending", sa.Text(), nullable=True))
    # Checkpoints had offsets in Jenkins' console, which is not read any more.
    op.execute("UPDATE builds SET checkpoint = NULL")
    op.create_table(
        "claims",
        sa.Column("claim_id", Id, autoincrement=True, nullable=False),
        sa.Column("build_uuid", sa.Text(), sa.ForeignKey("builds.build_uuid"), nullable=False),
        sa.Column("branch", sa.Text(), server_default="", nullable=False),
        sa.Column("nonce_digest", sa.Text(), nullable=False),
        sa.Column("setup_digest", sa.Text(), nullable=False),
        sa.Column("run_digest", sa.Text(), nullable=False),
        sa.Column("with_credentials", sa.Boolean(), nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("exit_status", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("claim_id"),
    )
    op.create_index("claims_of_build", "claims", ["build_uuid"])
    op.create_table(
        "log_segments",
        sa.Column("build_uuid", sa.Text(), sa.ForeignKey("builds.build_uuid"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("claim_id", Id, nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("raw_start", sa.BigInteger(), nullable=False),
        sa.Column("raw_stop", sa.BigInteger(), nullable=False),
        sa.Column("raw_sha256", sa.Text(), nullable=False),
        sa.Column("text_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("build_uuid", "position"),
    )
    op.create_table(
        "progress",
        sa.Column("build_uuid", sa.Text(), sa.ForeignKey("builds.build_uuid"), nullable=False),
        sa.Column("progress_id", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("build_uuid", "progress_id"),
    )
