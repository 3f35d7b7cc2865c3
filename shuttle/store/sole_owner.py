"""Ensures that one process serves from a PostgreSQL database, by an advisory lock that an open transaction holds."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import structlog

from shuttle.errors import SettingsError, StoreError
from shuttle.store.postgres_errors import refusal

log = structlog.get_logger()

# "shuttle" as a number; locks of other programs in the same database should have other numbers.
_KEY = 0x73687574746C65
# The lock belongs to a transaction: with a pooler in transaction mode, another client could get a session's lock.
_LOCK = (
    "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = '2s';"
    f" SELECT pg_try_advisory_xact_lock({_KEY})"
)
_CHECKED_EVERY_SECONDS = 1.0
# The server notices within this time that a killed process is gone, and releases its lock.
_OTHER_ENDS_SECONDS = 10.0
_PAUSE_SECONDS = 0.2


class NotOwnerError(StoreError):
    """This process does not hold the lock: the server is unavailable, or another process serves."""


class SoleOwner:
    """Holds the lock. A thread checks it, and takes it again after the server was unavailable."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect = connect
        self._connection: psycopg.Connection[Any] | None = None
        self._lost = "The database was not opened yet."
        self._watch: threading.Thread | None = None
        self._released = threading.Event()

    def take(self) -> None:
        """Take the lock. Raises SettingsError (another shuttle has it, or the server refuses) and StoreError."""
        ends_at = time.monotonic() + _OTHER_ENDS_SECONDS
        while not self._try_once():
            if time.monotonic() > ends_at or self._released.is_set():
                raise SettingsError("Another shuttle serves from this database; stop it or set another DATABASE_URL.")
            time.sleep(_PAUSE_SECONDS)
        if self._watch is None:
            self._watch = threading.Thread(target=self._hold_lock, name="postgres owner", daemon=True)
            self._watch.start()

    def check(self) -> None:
        """Raise NotOwnerError unless this process holds the lock."""
        if self._lost:
            raise NotOwnerError(self._lost)

    def release(self) -> None:
        """Release the lock, so that another process can serve."""
        self._released.set()
        if self._watch is not None:
            self._watch.join(_OTHER_ENDS_SECONDS)
        self._close("The database is closed because the shuttle is shutting down.")

    def _try_once(self) -> bool:
        """Try to take the lock; False = another process holds it."""
        connection = None
        try:
            connection = self._connect()
            cursor = connection.execute(_LOCK)
            while cursor.nextset():
                pass
            row = cursor.fetchone()
        except psycopg.Error as error:
            if connection is not None:
                connection.close()
            refused = refusal(error)
            raise refused or StoreError("The database does not answer; check the server of DATABASE_URL.") from None
        if row is None or not row[0]:
            connection.close()
            return False
        self._connection, self._lost = connection, ""
        return True

    def _hold_lock(self) -> None:
        while not self._released.wait(_CHECKED_EVERY_SECONDS if not self._lost else _PAUSE_SECONDS):
            if not self._lost:
                self._check_connection()
            else:
                self._retake()

    def _check_connection(self) -> None:
        assert self._connection is not None  # noqa: S101 - not lost
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            self._close("The database does not answer; check the server of DATABASE_URL.")

    def _retake(self) -> None:
        try:
            if not self._try_once():
                self._lost = "Another shuttle serves from this database; stop one of them."
                log.error("another shuttle serves from this database", error=self._lost)
                self._released.wait(_CHECKED_EVERY_SECONDS)
        except (StoreError, SettingsError) as error:
            self._lost = error.message

    def _close(self, why: str) -> None:
        self._lost = why
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()
