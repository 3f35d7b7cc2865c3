"""Reads the facts about a PostgreSQL server that `shuttle doctor` checks; changes nothing."""

from dataclasses import dataclass
from datetime import datetime

from shuttle.store.tx import Tx

OLDEST_VERSION = 14


@dataclass(frozen=True, slots=True)
class PostgresFacts:
    """The facts; `revision` None = the tables do not exist yet.

    `identity` differs for any two schemas of any two databases that are in use. `unsafe_standbys` is the number of
    standbys that may lack what the primary has confirmed.
    """

    version: int
    may_create: bool
    writes_durably: bool
    clock_at: datetime
    revision: str | None
    unsafe_standbys: int
    identity: tuple[object, ...]


def read_facts(tx: Tx) -> PostgresFacts:
    """Read the facts."""
    row = tx.connection.exec_driver_sql(
        "SELECT current_setting('server_version_num')::int / 10000,"
        " has_schema_privilege(current_schema(), 'CREATE'),"
        " current_setting('fsync') = 'on' AND current_setting('synchronous_commit') <> 'off',"
        " clock_timestamp(), to_regclass('alembic_version') IS NOT NULL,"
        " CASE WHEN current_setting('synchronous_standby_names') = '' OR"
        " current_setting('synchronous_commit') IN ('local', 'off')"
        " THEN (SELECT count(*) FROM pg_stat_replication) ELSE 0 END,"
        " pg_postmaster_start_time(), current_database(), current_schema()"
    ).one()
    revision = None
    if row[4]:
        revision = tx.connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return PostgresFacts(row[0], bool(row[1]), bool(row[2]), row[3], revision, int(row[5]), tuple(row[6:]))
