"""Migrates a PostgreSQL database while replicas of the previous release serve from it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import sqlalchemy as sa
import structlog
from sqlalchemy.pool import NullPool

from shuttle.errors import SettingsError, StoreError
from shuttle.store.migrate import Migrations, Schema, read_schema
from shuttle.store.postgres_connection import connect, parameters_of

log = structlog.get_logger()

# How many releases the schema may be ahead of this version: replicas of two releases serve side by side in an upgrade.
_RELEASES_AHEAD = 1
# Without parameters: a query with parameters keeps its snapshot until the transaction ends (in the unnamed portal), and
# CREATE INDEX CONCURRENTLY waits for all older snapshots.
_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(7308338842194436453)"
_LOCK_SECONDS = 5.0
_LOCK_POLL_SECONDS = 0.1
# In milliseconds, and tcp_keepalives_* in seconds. By default a server learns only after a quarter of an hour, or after
# two hours, that the machine of a client is gone, and keeps the locks of its transaction until then.
_LIMITS = {
    "lock_timeout": 5000,
    "statement_timeout": 0,
    "tcp_keepalives_idle": 5,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# Much longer than a migration takes between two statements. A process that is suspended in between would keep whole
# tables locked, and hold up all replicas.
_IDLE_SECONDS = 10.0


def bring_postgres_up_to_date(url: str) -> str:
    """Run all missing migrations, each in its own transaction; returns the database's new revision.

    A schema that is one release ahead of this version is left as it is.

    Raises:
        SQLAlchemyError: the database cannot be used.
        StoreError: another process is migrating it.
        SettingsError: the schema is more than one release ahead of this version.
    """
    migrations = Migrations()
    engine, steps = migration_engine(url), migration_engine(url, idle_seconds=_IDLE_SECONDS)
    try:
        with engine.connect() as connection:
            schema = read_schema(connection)
        if schema.revision == migrations.head:
            return migrations.head
        with _only_one(engine), steps.connect() as connection:
            with connection.begin():
                schema = read_schema(connection)
            if schema.revision is not None and not migrations.know(schema):
                _refuse_far_ahead(schema, migrations.release)
                return schema.revision
            with _error_of_statement():
                migrations.run(connection)
        return migrations.head
    finally:
        engine.dispose()
        steps.dispose()


def migration_engine(url: str, *, idle_seconds: float = 0) -> sa.Engine:
    """An engine for migrations: no transaction of it waits long for a lock, because others would queue behind it.

    A statement outside of a transaction, which makes an index without blocking anybody, may wait for as long as others'
    transactions run. The server ends a transaction that sends nothing for `idle_seconds`; 0 = no limit.
    """
    engine = sa.create_engine(
        "postgresql+psycopg://",
        creator=partial(connect, parameters_of(url)),
        poolclass=NullPool,
        hide_parameters=True,
    )

    limits = _LIMITS | {"idle_in_transaction_session_timeout": round(idle_seconds * 1000)}
    statement = "; ".join(f"SET LOCAL {name} = {value}" for name, value in limits.items())

    @sa.event.listens_for(engine, "begin")
    def _limit(connection: sa.Connection) -> None:
        driver = connection.connection.driver_connection
        if driver is not None and not driver.autocommit:
            connection.exec_driver_sql(statement)

    return engine


@contextmanager
def _only_one(engine: sa.Engine) -> Iterator[None]:
    """Keep other processes from migrating.

    The lock is polled: CREATE INDEX CONCURRENTLY waits for all statements that have begun before it, and so would wait
    for one that waits for this lock.
    """
    ends_at = time.monotonic() + _LOCK_SECONDS
    with engine.connect() as connection:
        while not connection.exec_driver_sql(_TRY_LOCK).scalar():
            connection.rollback()
            if time.monotonic() > ends_at:
                raise StoreError("Another process is migrating the database; wait until it is done.")
            time.sleep(_LOCK_POLL_SECONDS)
        yield


@contextmanager
def _error_of_statement() -> Iterator[None]:
    """Raise the error of the statement that failed, not that of the commit after it.

    Outside of transactions alembic commits even after a failed statement. This commit fails, too.
    """
    try:
        yield
    except sa.exc.PendingRollbackError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, sa.exc.DBAPIError):
            cause = cause.__context__
        raise cause or error from None


def _refuse_far_ahead(schema: Schema, release: int) -> None:
    if schema.release is None or schema.release > release + _RELEASES_AHEAD:
        raise SettingsError(
            f"A much newer version of the shuttle has migrated the database (release {schema.release} of its schema):"
            f" this version serves from release {release + _RELEASES_AHEAD} at most, so start a newer one."
        )
    log.info("the schema is one release ahead of this version", revision=schema.revision)
