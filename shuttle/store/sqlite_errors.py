"""Translates SQLite's errors into errors of the service: one sentence that says what to do."""

import sqlite3
from collections.abc import Mapping

import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from shuttle.errors import StoreError, StoreFaultError

log = structlog.get_logger()

# By SQLite's primary result codes (https://www.sqlite.org/rescode.html): errors that pass or that operators can solve.
_UNUSABLE: Mapping[int, str] = {
    sqlite3.SQLITE_FULL: "free space on the disk of SHUTTLE_DATA_DIR",
    sqlite3.SQLITE_IOERR: "check the disk of SHUTTLE_DATA_DIR",
    sqlite3.SQLITE_READONLY: "check the permissions of its file and folder",
    sqlite3.SQLITE_PERM: "check the permissions of its file and folder",
    sqlite3.SQLITE_CANTOPEN: "check the permissions of its file and folder",
    sqlite3.SQLITE_AUTH: "check the permissions of its file and folder",
    sqlite3.SQLITE_BUSY: "end the other process that uses it",
    sqlite3.SQLITE_LOCKED: "end the other process that uses it",
    sqlite3.SQLITE_PROTOCOL: "end the other process that uses it",
    sqlite3.SQLITE_NOMEM: "give the service more memory",
    sqlite3.SQLITE_CORRUPT: "its file is damaged: restore a backup",
    sqlite3.SQLITE_NOTADB: "its file is damaged: restore a backup",
}


def sqlite_error(error: SQLAlchemyError | sqlite3.Error) -> StoreError:
    """The service's error with the driver's message, without the statement and its values.

    It is a StoreFaultError for a statement that can never be executed; that is logged here, because callers retry.
    """
    driver = error.orig if isinstance(error, DBAPIError) else error if isinstance(error, sqlite3.Error) else None
    detail = str(driver or type(error).__name__)
    code = getattr(driver, "sqlite_errorcode", None)
    what_to_do = None if code is None else _UNUSABLE.get(code & 0xFF)
    if what_to_do is None:
        log.error("the database refused a statement", error=detail)
        return StoreFaultError(f"The database refused a statement ({detail}): this is a bug of the shuttle; report it.")
    return StoreError(f"The database cannot be used now ({detail}); {what_to_do}.")
