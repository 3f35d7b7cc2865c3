"""The build state record: projects, reference data, states, failures, references to artifacts, and records of builds
that other CI systems run.

`states` replaces `progress`, which has one row for each begin and end. A later release removes `progress`.

Revision 0022, after 0021.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from shuttle.store.migrations.large_index import create_large_index

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None
release = 1

_Instant = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Go forward."""
    # Making the indexes commits this, and a migration that was killed runs again.
    repeatable = True if op.get_bind().dialect.name == "postgresql" else None
    for table, column in _columns():
        op.add_column(table, column, if_not_exists=repeatable)
    for new in _tables():
        op.create_table(*new, if_not_exists=repeatable)
    _copy_stages()
    create_large_index("apps_by_project", "apps", ["project_id"])
    create_large_index("builds_by_pair", "builds", ["app_id", "build_id"], where="api <> 'legacy'", unique=True)
    create_large_index(
        "builds_to_run", "builds", ["serial_key", "position"], where="finished_at IS NULL AND api <> 'record'"
    )
    create_large_index(
        "builds_open_records", "builds", ["app_id", "position"], where="finished_at IS NULL AND api = 'record'"
    )
    for name, named in (
        ("builds_by_parent", "parent_uuid"),
        ("builds_by_resumed", "resume_from"),
    ):
        create_large_index(name, "builds", [named], where=f"{named} IS NOT NULL")
    op.drop_index("builds_of_new_api", "builds")
    op.drop_index("builds_unfinished", "builds")


def _columns() -> list[tuple[str, sa.Column[Any]]]:
    apps: list[sa.Column[Any]] = [
        sa.Column("project_id", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Text(), nullable=True),
        sa.Column("deactivated_at", _Instant, nullable=True),
        sa.Column("updated_at", _Instant, nullable=True),
    ]
    builds: list[sa.Column[Any]] = [
        sa.Column("parent_uuid", sa.Text(), nullable=True),
        sa.Column("resume_from", sa.Text(), nullable=True),
        sa.Column("state_code", sa.Integer(), nullable=True),
        sa.Column("record", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("called_steady_at", _Instant, nullable=True),
    ]
    artifacts: list[sa.Column[Any]] = [
        sa.Column("artifact_id", sa.Text(), nullable=True),
        sa.Column("reference", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("state_code", sa.Integer(), nullable=True),
        sa.Column("resumable", sa.Boolean(), nullable=True),
        sa.Column("final", sa.Boolean(), nullable=True),
        sa.Column("expires_at", _Instant, nullable=True),
        sa.Column("updated_at", _Instant, nullable=True),
        sa.Column("deleted_at", _Instant, nullable=True),
    ]
    variables: list[sa.Column[Any]] = [
        sa.Column("kind", sa.Text(), nullable=False, server_default="string"),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("state_code", sa.Integer(), nullable=True),
        sa.Column("required", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("created_at", _Instant, nullable=True),
        sa.Column("updated_at", _Instant, nullable=True),
    ]
    of_tables = {"apps": apps, "builds": builds, "artifacts": artifacts, "variables": variables}
    return [(table, column) for table, columns in of_tables.items() for column in columns]


def _tables() -> list[tuple[Any, ...]]:
    return [
        (
            "reference",
            sa.Column("reference_id", sa.Text(), primary_key=True),
            sa.Column("kind", sa.Text(), nullable=False),
            sa.Column("scope", sa.Text(), nullable=False, server_default=""),
            sa.Column("name", sa.Text(), nullable=False),
            sa.Column("fields", sa.JSON(), nullable=False),
            sa.Column("created_at", _Instant, nullable=False),
            sa.Column("updated_at", _Instant, nullable=False),
            sa.Column("deactivated_at", _Instant, nullable=True),
            sa.UniqueConstraint("kind", "scope", "name"),
        ),
        (
            "states",
            sa.Column("build_uuid", sa.Text(), sa.ForeignKey("builds.build_uuid"), primary_key=True),
            sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
            sa.Column("begin_id", sa.Text(), nullable=True),
            sa.Column("end_id", sa.Text(), nullable=True),
            sa.Column("branch", sa.Text(), nullable=False, server_default=""),
            sa.Column("stage", sa.Text(), nullable=True),
            sa.Column("code", sa.Integer(), nullable=True),
            sa.Column("status", sa.Text(), nullable=True),
            sa.Column("exit_status", sa.Integer(), nullable=True),
            sa.Column("message", sa.Text(), nullable=True),
            sa.Column("began_at", _Instant, nullable=False),
            sa.Column("ended_at", _Instant, nullable=True),
            sa.Column("log_start", sa.BigInteger(), nullable=True),
            sa.Column("log_stop", sa.BigInteger(), nullable=True),
            sa.Column("claim_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
            sa.Column("raw_start", sa.BigInteger(), nullable=True),
            sa.Column("raw_stop", sa.BigInteger(), nullable=True),
            sa.Column("details", sa.JSON(none_as_null=True), nullable=True),
            sa.UniqueConstraint("build_uuid", "begin_id"),
        ),
        (
            "failures",
            sa.Column("build_uuid", sa.Text(), sa.ForeignKey("builds.build_uuid"), primary_key=True),
            sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
            sa.Column("state_code", sa.Integer(), nullable=True),
            sa.Column("kind", sa.Text(), nullable=False),
            sa.Column("message", sa.Text(), nullable=False),
            sa.Column("component", sa.Text(), nullable=True),
            sa.Column("retryable", sa.Boolean(), nullable=False),
            sa.Column("retry_attempt", sa.Integer(), nullable=False, server_default="0"),
            sa.Column("details", sa.JSON(none_as_null=True), nullable=True),
            sa.Column("created_at", _Instant, nullable=False),
            sa.Column("resolved_at", _Instant, nullable=True),
            sa.Column("resolution_notes", sa.Text(), nullable=True),
        ),
        (
            "jobs",
            sa.Column("build_uuid", sa.Text(), sa.ForeignKey("builds.build_uuid"), primary_key=True),
            sa.Column("job_id", sa.Text(), primary_key=True),
            sa.Column("fields", sa.JSON(), nullable=False),
            sa.Column("created_at", _Instant, nullable=False),
            sa.Column("updated_at", _Instant, nullable=False),
        ),
    ]


def _copy_stages() -> None:
    """Write one row of `states` for each stage, from the rows of its begin and end; can be repeated after a kill."""
    connection = op.get_bind()
    connection.execute(sa.text("DELETE FROM states"))
    events = connection.execute(
        sa.text(
            "SELECT build_uuid, progress_id, branch, stage, event, code, status, at FROM progress"
            " ORDER BY build_uuid, at, progress_id"
        )
    )
    insert = sa.text(
        "INSERT INTO states (build_uuid, position, begin_id, end_id, branch, stage, status, exit_status,"
        " began_at, ended_at) VALUES (:build_uuid, :position, :begin_id, :end_id, :branch, :stage, :status,"
        " :exit_status, :began_at, :ended_at)"
    )
    rows: dict[tuple[str, str, str], dict[str, object]] = {}
    of_build, known = None, 0
    for event in events:
        if event.build_uuid != of_build:
            if rows:
                connection.execute(insert, [*rows.values()])
            rows, of_build, known = {}, event.build_uuid, 0
        which = event.build_uuid, event.branch, event.stage
        if which not in rows:
            known += 1
            rows[which] = {
                "build_uuid": event.build_uuid,
                "position": known,
                "begin_id": event.progress_id,
                "end_id": None,
                "branch": event.branch,
                "stage": event.stage,
                "status": None,
                "exit_status": None,
                "began_at": event.at,
                "ended_at": None,
            }
        if event.event == "end":
            rows[which] |= {"end_id": event.progress_id, "status": event.status, "exit_status": event.code}
            rows[which]["ended_at"] = event.at
    if rows:
        connection.execute(insert, [*rows.values()])
