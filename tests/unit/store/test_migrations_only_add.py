"""A migration only adds: replicas of the previous release serve from its schema.

What a migration removes, it names in `removes`, with the release from which on nothing has used it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import Script, ScriptDirectory

from shuttle.store import migrate
from tests.support.shuttle_store import migrate_to

# No version before it serves from a newer schema.
FIRST = "0019"


def migrations() -> list[Script]:
    """From FIRST on, the oldest first."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    found = [script for script in ScriptDirectory.from_config(config).walk_revisions() if script.revision >= FIRST]
    return found[::-1]


def schema_of(engine: sa.Engine) -> sa.MetaData:
    found = sa.MetaData()
    found.reflect(engine)
    return found


def narrowed(before: sa.MetaData, after: sa.MetaData, removes: Mapping[str, int], release: int) -> Iterator[str]:
    """The changes by which a migration would break replicas of the release before `release`, each as a sentence."""
    for name, table in before.tables.items():
        if name not in after.tables:
            yield from _removed(name, removes, release)
        else:
            yield from _narrowed_table(table, after.tables[name], removes, release)


def _removed(name: str, removes: Mapping[str, int], release: int) -> Iterator[str]:
    if removes.get(name, release) >= release:
        yield f"{name} is removed"


def _narrowed_table(before: sa.Table, after: sa.Table, removes: Mapping[str, int], release: int) -> Iterator[str]:
    for column in before.c:
        if column.name not in after.c:
            yield from _removed(f"{before.name}.{column.name}", removes, release)
            continue
        now = after.c[column.name]
        if str(column.type) != str(now.type):
            yield f"{now} has another type"
        if (column.nullable and not now.nullable) or (column.server_default and not now.server_default):
            yield f"{now} needs a value"
    for column in after.c:
        if column.name not in before.c and not column.nullable and column.server_default is None:
            yield f"{column} needs a value"
    if new_rules := _rules(after) - _rules(before):
        yield f"{before.name} has new rules: {', '.join(sorted(new_rules))}"


def _rules(table: sa.Table) -> set[str]:
    """The rules that a row has to keep."""
    groups = [
        *(rule.columns for rule in table.constraints if isinstance(rule, sa.schema.ColumnCollectionConstraint)),
        *(index.columns for index in table.indexes if index.unique),
    ]
    checks = [str(rule.sqltext) for rule in table.constraints if isinstance(rule, sa.CheckConstraint)]
    return {"(" + ", ".join(column.name for column in group) + ")" for group in groups if len(group)} | {*checks}


def test_each_migration_only_adds_to_what_the_previous_release_uses(tmp_path: Path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a.db")
    migrate_to(engine, str(migrations()[0].down_revision))
    before = schema_of(engine)
    for script in migrations():
        migrate_to(engine, script.revision)
        after = schema_of(engine)
        module: Any = script.module
        assert [*narrowed(before, after, getattr(module, "removes", {}), module.release)] == [], script.path
        with engine.connect() as connection:
            recorded = connection.exec_driver_sql("SELECT release FROM schema_release").scalar_one()
        assert recorded == module.release, script.path
        before = after
    engine.dispose()


def test_releases_of_migrations_are_consecutive():
    releases = [script.module.release for script in migrations()]
    assert all(later - earlier in {0, 1} for earlier, later in zip([1, *releases], releases, strict=False)), releases


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("ALTER TABLE t ADD COLUMN c TEXT", []),
        ("ALTER TABLE t ADD COLUMN c TEXT NOT NULL DEFAULT ''", []),
        ("CREATE INDEX i ON t (b)", []),
        ("CREATE TABLE u (a TEXT NOT NULL UNIQUE)", []),
        ("DROP TABLE t", ["t is removed"]),
        ("ALTER TABLE t DROP COLUMN b", ["t.b is removed"]),
        ("ALTER TABLE t DROP COLUMN old", []),
        ("ALTER TABLE t DROP COLUMN recent", ["t.recent is removed"]),
        ("ALTER TABLE t RENAME COLUMN b TO c", ["t.b is removed"]),
        ("ALTER TABLE t RENAME TO u", ["t is removed"]),
        ("CREATE UNIQUE INDEX i ON t (b)", ["t has new rules: (b)"]),
        ("ALTER TABLE t ADD COLUMN c TEXT CHECK (c <> '')", ["t has new rules: c <> ''"]),
        ("DROP TABLE t; CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, old TEXT, recent TEXT NOT NULL)",
         ["t.recent needs a value"]),
        ("DROP TABLE t; CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB, old TEXT, recent TEXT)",
         ["t.b has another type"]),
        ("DROP TABLE t; CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, old TEXT, recent TEXT, c TEXT NOT NULL)",
         ["t.c needs a value"]),
    ],
)  # fmt: skip
def test_migration_that_would_break_the_previous_release_is_found(change: str, found: list[str]):
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, old TEXT, recent TEXT)")
    before = schema_of(engine)
    with engine.begin() as connection:
        for statement in change.split("; "):
            connection.exec_driver_sql(statement)
    assert [*narrowed(before, schema_of(engine), {"t.old": 4, "t.recent": 5}, release=5)] == found
    engine.dispose()
