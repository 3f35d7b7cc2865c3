"""What PostgreSQL's errors are to the rest of the shuttle: one sentence that says what to do, without any value."""

from collections.abc import Mapping
from typing import Any

import psycopg
import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from shuttle.errors import SettingsError, ShuttleError, StoreError, StoreFaultError

log = structlog.get_logger()

# By SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html). A unique violation is repeated too:
# another transaction has just committed the row, and the query finds it at the second time.
_REPEATED = frozenset({"40001", "40P01", "23505", "55P03"})
# Ends a connection, or says that the server is on its way down or up, or a standby.
_LOST = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03", "25006", "53300"})
_UNUSABLE: Mapping[str, str] = {
    "53100": "make room on the disk of PostgreSQL",
    "53200": "give PostgreSQL more memory",
    "53300": "raise max_connections of PostgreSQL, or end other connections",
    "25006": "the server is read-only: name the primary in DATABASE_URL",
    "42501": "grant the user of DATABASE_URL its rights on the tables",
    "57014": "it took longer than it may; check what keeps PostgreSQL busy",
    "55P03": "a row stays locked; check for long transactions of others",
    "40001": "too many transactions met at one row",
    "40P01": "too many transactions met at one row",
}
# libpq gives no SQLSTATE for a connection that is refused, so these are parts of the server's English messages.
_REFUSED: Mapping[str, str] = {
    "password authentication failed": "PostgreSQL refuses the user or the password of DATABASE_URL; correct it.",
    "no password supplied": "PostgreSQL asks for a password; write it into DATABASE_URL.",
    "authentication failed": "PostgreSQL refuses the user of DATABASE_URL; correct it, or allow it in pg_hba.conf.",
    "no pg_hba.conf entry": "PostgreSQL has no entry in pg_hba.conf for this host, user and database; add one.",
    'role "': "The user of DATABASE_URL does not exist, or may not log in; create it.",
    'database "': "The database of DATABASE_URL does not exist, or does not take connections; create it.",
    "permission denied for database": "The user of DATABASE_URL may not connect to its database; grant CONNECT.",
    "permission denied for schema": "The user of DATABASE_URL may not create tables; grant CREATE on its schema.",
    "does not support SSL": "PostgreSQL does not offer TLS, which DATABASE_URL asks for; change its sslmode.",
    "certificate verify failed": "PostgreSQL's certificate is not one that DATABASE_URL trusts; name its sslrootcert.",
}


def refusal(error: BaseException) -> SettingsError | None:
    """Of a connection that the server refuses for good; None = it may be accepted later."""
    text = str(error)
    sentence = next((sentence for part, sentence in _REFUSED.items() if part in text), None)
    return None if sentence is None else SettingsError(sentence)


def is_lost(error: SQLAlchemyError) -> bool:
    """The connection is gone, or cannot be made now."""
    if not isinstance(error, DBAPIError):
        return False
    state = sqlstate(error)
    if state is None:
        return isinstance(error.orig, psycopg.OperationalError | psycopg.InterfaceError)
    return state in _LOST or state.startswith("08")


def is_repeatable(error: SQLAlchemyError) -> bool:
    """The transaction was undone because of another one."""
    return sqlstate(error) in _REPEATED


def sqlstate(error: BaseException) -> str | None:
    """The code of the driver's error behind it."""
    driver: Any = error.orig if isinstance(error, DBAPIError) else error
    return getattr(driver, "sqlstate", None)


def postgres_error(error: SQLAlchemyError) -> ShuttleError:
    """An error of ours with the server's message, without the statement, its values and the connection's parameters."""
    refused = refusal(error)
    if refused is not None and sqlstate(error) in {None, "42501"}:
        return refused
    state = sqlstate(error) or ""
    if state in _UNUSABLE:
        return StoreError(f"The database cannot be used now ({_message(error)}); {_UNUSABLE[state]}.")
    if is_lost(error):
        return StoreError("The database does not answer; check the server of DATABASE_URL.")
    log.error("the database refused a statement", error=_message(error), sqlstate=state)
    return StoreFaultError(f"The database refused a statement ({_message(error)}): a fault of the shuttle; report it.")


def _message(error: SQLAlchemyError) -> str:
    """The first line alone: the details name values."""
    driver: Any = error.orig if isinstance(error, DBAPIError) else None
    primary = getattr(getattr(driver, "diag", None), "message_primary", None)
    return str(primary or type(driver or error).__name__)
