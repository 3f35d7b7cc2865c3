"""The SQLite database: one thread owns the connection and commits the queued transactions in groups."""

import asyncio
import fcntl
import os
import sqlite3
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Concatenate

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from shuttle.clock import Clock, Moment
from shuttle.errors import DatabaseInUseError, OutcomeUnknownError, StoreError
from shuttle.store import Parameters, Result
from shuttle.store.futures import complete
from shuttle.store.migrate import bring_up_to_date
from shuttle.store.moves import refuse_moved
from shuttle.store.request_time import transaction_seconds, wait_at_most
from shuttle.store.sqlite_errors import sqlite_error
from shuttle.store.tx import Notice, Subscriptions, Topic, Tx

# A commit needs one fsync, whatever its size. Larger groups would only delay the first caller.
_MAX_GROUP = 256
# A checkpoint syncs the database file, which delays commits. It is made at 32 MiB of write-ahead log, not SQLite's 4.
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=5000",
    "wal_autocheckpoint=8192",
)


@dataclass(slots=True)
class _Task:
    """The work that a caller waits for: a query, or (`now` None) a function that manages its own transaction.

    `over`: the caller no longer waits. `begun`: the thread has begun the work, perhaps in a rolled-back transaction.
    """

    work: Callable[..., Any]
    now: Moment | None
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    over: bool = False
    begun: bool = False

    def give_up(self) -> None:
        """End the wait of the caller; a query that has not begun yet will not be executed."""
        # Set before `begun` is read, while `run` sets `begun` before it reads `over`: if `begun` is false here, `run`
        # will find `over` set, and execute nothing.
        self.over = True
        if not self.future.done():
            error = OutcomeUnknownError if self.begun else StoreError
            self.future.set_exception(
                error("The database does not answer in time; check the disk of SHUTTLE_DATA_DIR.")
            )

    def run(self, tx: Tx) -> Any:
        """Execute the query, unless the caller no longer waits."""
        self.begun = True
        return None if self.over else self.work(tx)


class SqliteDatabase:
    """The Database port over one SQLite file, in WAL mode with synchronous=FULL.

    Group commit in one thread makes 6,100 transactions per second durable; with a commit for each transaction it would
    be 1,000 (measured on two cores). An exclusive lock on a file ensures that no other process serves from this
    database, so no other replica can own an app, and nothing has to be checked before a commit.
    """

    alone = True
    notifies = False
    takes_apps = True

    def __init__(self, path: Path, clock: Clock) -> None:
        self.instance = str(uuid.uuid4())
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock_file = lock_file(path)
        self._engine = sqlite_engine(path)
        self._clock = clock
        self._subscriptions = Subscriptions()
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="sqlite", daemon=True)
        self._closing = False

    def subscribe(self, topic: Topic, callback: Callable[[str], None]) -> None:
        """See the port."""
        self._subscriptions.add(topic, callback)

    async def migrate(self) -> str:
        """See the port. It runs in the connection's thread, so that `close` waits for it if the start is cancelled."""
        return await self._in_thread(self._migrate, None)

    def _migrate(self) -> str:
        revision = bring_up_to_date(self._engine)
        with self._engine.begin() as connection:
            refuse_moved(connection)
        return revision

    async def run(
        self,
        query: Callable[Concatenate[Tx, Parameters], Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """See the port."""
        with transaction_seconds() as seconds:
            return await self._in_thread(lambda tx: query(tx, *args, **kwargs), self._clock.moment(), seconds)

    async def _in_thread(
        self, work: Callable[..., Result], now: Moment | None, limit_seconds: float | None = None
    ) -> Result:
        if self._closing:
            raise StoreError("The database is closed because the shuttle is shutting down.")
        if not self._thread.ident:
            self._thread.start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        task = _Task(work, now, future, loop)
        self._tasks.put(task)
        # If the caller is cancelled, the thread still runs the transaction.
        return await wait_at_most(limit_seconds, future, task.give_up)

    async def listen(self) -> None:
        """See the port; no other process sends notices."""

    async def close(self) -> None:
        """See the port."""
        if not self._closing:
            self._closing = True
            self._tasks.put(None)
            if self._thread.is_alive():
                await asyncio.to_thread(self._thread.join)
            self._engine.dispose()
            self._lock_file.close()

    def _serve(self) -> None:
        connection = None
        while (group := self._next_group()) is not None:
            if group[0].now is None:
                self._call(group[0])
                continue
            try:
                connection = connection or self._engine.connect()
            except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
                self._answer(group, [_translated(error)] * len(group), ())
            else:
                self._commit(connection, group)
        if connection is not None:
            connection.close()

    def _next_group(self) -> list[_Task] | None:
        """Wait for tasks and return all that are queued; None = closed. A task without `now` is a group of its own."""
        first = self._tasks.get()
        if first is None:
            return None
        if first.now is None:
            return [first]
        group = [first]
        while len(group) < _MAX_GROUP and not self._tasks.empty():
            task = self._tasks.get()
            if task is None or task.now is None:
                self._tasks.put(task)
                break
            group.append(task)
        return group

    def _call(self, task: _Task) -> None:
        try:
            self._answer([task], [task.work()], ())
        except Exception as error:  # noqa: BLE001 - raised in the caller
            self._answer([task], [_translated(error)], ())

    def _commit(self, connection: sa.Connection, group: list[_Task]) -> None:
        """Run the group in one transaction; if a task raises, run each in its own transaction."""
        notices: list[Notice] = []
        try:
            transaction = connection.begin()
        except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:  # a try for each task would wait for the lock again
            self._answer(group, [_translated(error)] * len(group), ())
            return
        try:
            with transaction:
                results = [task.run(self._tx(connection, task.now, notices)) for task in group]
        except Exception as error:  # noqa: BLE001 - raised in the caller
            if len(group) == 1:
                self._answer(group, [_translated(error)], ())
                return
            for task in group:
                self._commit(connection, [task])
            return
        self._answer(group, results, notices)

    def _tx(self, connection: sa.Connection, now: Moment | None, notices: list[Notice]) -> Tx:
        return Tx(connection, now or self._clock.moment(), self.instance, notices)

    def _answer(self, group: Sequence[_Task], results: Sequence[Any], notices: Sequence[Notice]) -> None:
        """Pass the results to the callers and send the notices, in one callback of the event loop."""

        def hand_over() -> None:
            self._subscriptions.send(notices)
            for task, result in zip(group, results, strict=True):
                complete(task.future, result)

        with suppress(RuntimeError):  # the loop is closed, so no caller waits
            group[0].loop.call_soon_threadsafe(hand_over)


def _translated(error: Exception) -> Exception:
    return sqlite_error(error) if isinstance(error, sa.exc.SQLAlchemyError | sqlite3.Error) else error


def lock_file(path: Path) -> Any:
    """Keep other processes from serving from the SQLite file, until the returned file is closed."""
    file = path.with_name(path.name + ".lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise DatabaseInUseError(
            f"Another shuttle serves from {path}; stop it or set another SHUTTLE_DATA_DIR."
        ) from None
    os.set_inheritable(file.fileno(), False)
    return file


def sqlite_engine(path: Path) -> sa.Engine:
    """An engine with one connection, whose transactions are durable."""
    engine = sa.create_engine(
        f"sqlite:///{path}",
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "isolation_level": None, "cached_statements": 512},
        hide_parameters=True,
    )

    @sa.event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
