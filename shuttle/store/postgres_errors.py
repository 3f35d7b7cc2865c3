"""Translates PostgreSQL's errors into errors of the service: one sentence that says what to do, without any values."""

from collections.abc import Mapping
from typing import Any

import psycopg
import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from shuttle.errors import SettingsError, StoreError, StoreFaultError

log = structlog.get_logger()

# By SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html). A unique violation is repeated, too:
# another transaction has just committed the row, and the repeated query finds it.
_REPEATED = frozenset({"40001", "40P01", "23505", "55P03"})
# The connection was ended, or the server is shutting down, starting, or a standby.
_LOST = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "25006", "53300"})
_UNUSABLE: Mapping[str, str] = {
    "53100": "free space on the disk of PostgreSQL",
    "53200": "give PostgreSQL more memory",
    "53300": "raise max_connections of PostgreSQL, or max_client_conn of its pooler, or end other connections",
    "25006": "the server is read-only: name the primary in DATABASE_URL",
    "42501": "grant the user of DATABASE_URL its rights on the tables",
    "57014": "a statement timed out; check the load of PostgreSQL",
    "55P03": "a row is locked for too long; check for long transactions of other programs",
    "40001": "too many transactions changed the same row",
    "40P01": "too many transactions changed the same row",
}
# libpq has no SQLSTATE for a refused connection, so these are parts of messages. Those of the server match only if its
# lc_messages is English; else `refusal` knows at most that the login has failed. The last of _FULL and the last two of
# _REFUSED are pgbouncer's.
_FULL = ("too many connections", "remaining connection slots", "no more connections allowed")
_REFUSED: Mapping[str, str] = {
    "password authentication failed": "PostgreSQL refuses the user or the password of DATABASE_URL; correct it.",
    "authentication failed": "PostgreSQL refuses the user of DATABASE_URL; correct it, or allow it in pg_hba.conf.",
    "no pg_hba.conf entry": "PostgreSQL has no entry in pg_hba.conf for this host, user and database; add one.",
    'role "': "The user of DATABASE_URL does not exist, or may not log in; create it.",
    'database "': "The database of DATABASE_URL does not exist, or does not accept connections; create it.",
    "permission denied for database": "The user of DATABASE_URL may not connect to its database; grant CONNECT.",
    "permission denied for schema": "The user of DATABASE_URL may not create tables; grant CREATE on its schema.",
    "does not support SSL": "PostgreSQL does not offer TLS, which DATABASE_URL requires; change its sslmode.",
    "root certificate file": "PostgreSQL's certificate cannot be verified; name its CA as sslrootcert in DATABASE_URL.",
    "certificate verify failed": "PostgreSQL's certificate is not trusted; name its CA as sslrootcert in DATABASE_URL.",
    "statement pooling mode": "The pooler of DATABASE_URL ends each transaction after one statement; let it pool"
    " transactions or sessions.",
    "unsupported startup parameter": "The pooler of DATABASE_URL refuses a parameter of that URL; remove it there, or"
    " allow it in the pooler (ignore_startup_parameters of pgbouncer).",
}


def refusal(error: BaseException) -> SettingsError | StoreError | None:
    """The error for a connection that the server refuses: StoreError if a retry may succeed. None = no refusal."""
    pgconn: Any = getattr(_driver_error(error), "pgconn", None)
    if pgconn is not None and pgconn.needs_password:
        return SettingsError("PostgreSQL requires a password; add it to DATABASE_URL.")
    text = str(error)
    if any(part in text for part in _FULL):
        return StoreError(f"PostgreSQL accepts no more connections; {_UNUSABLE['53300']}.")
    sentence = next((sentence for part, sentence in _REFUSED.items() if part in text), None)
    if sentence is not None:
        return SettingsError(sentence)
    if pgconn is not None and pgconn.used_password and not pgconn.server_version:  # the login has failed
        return StoreError(
            "PostgreSQL refuses the login; check user, password and database of DATABASE_URL, and the server's log."
        )
    return None


def is_lost(error: SQLAlchemyError) -> bool:
    """Whether the connection was lost, or cannot be opened now."""
    if not isinstance(error, DBAPIError):
        return False
    state = sqlstate(error)
    if state is None:
        return isinstance(error.orig, psycopg.OperationalError | psycopg.InterfaceError)
    return state in _LOST or state.startswith("08")


def is_repeatable(error: SQLAlchemyError) -> bool:
    """Whether the transaction was rolled back because of another one, so that it can be repeated."""
    return sqlstate(error) in _REPEATED


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE of the driver's error."""
    return getattr(_driver_error(error), "sqlstate", None)


def _driver_error(error: BaseException) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def running_error(error: SQLAlchemyError) -> StoreError:
    """`postgres_error` for a running service.

    A refused login is a StoreError, so it is tried again: somebody may be changing the password.
    """
    found = postgres_error(error)
    return StoreError(found.message) if isinstance(found, SettingsError) else found


def postgres_error(error: SQLAlchemyError) -> SettingsError | StoreError:
    """The service's error with the server's message; without the statement, values and connection parameters."""
    refused = refusal(error)
    if refused is not None and sqlstate(error) in {None, "42501", "08P01"}:
        return refused
    state = sqlstate(error) or ""
    if state in _UNUSABLE:
        return StoreError(f"The database cannot be used now ({_message(error)}); {_UNUSABLE[state]}.")
    if is_lost(error):
        return StoreError("The database does not answer; check the server of DATABASE_URL.")
    log.error("the database refused a statement", error=_message(error), sqlstate=state)
    return StoreFaultError(
        f"The database refused a statement ({_message(error)}): this is a bug of the shuttle; report it."
    )


def _message(error: SQLAlchemyError) -> str:
    """The primary message only, because the details contain values."""
    driver: Any = error.orig if isinstance(error, DBAPIError) else None
    primary = getattr(getattr(driver, "diag", None), "message_primary", None)
    return str(primary or type(driver or error).__name__)
