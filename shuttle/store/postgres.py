"""PostgreSQL: a few threads, each with a connection, run one transaction at a time."""

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Concatenate

import sqlalchemy as sa
import structlog

from shuttle import metrics
from shuttle.clock import Clock, Moment
from shuttle.errors import OutcomeUnknownError, StoreError
from shuttle.store import Parameters, Result
from shuttle.store.fence import Ownership, check_owner, current_ownership
from shuttle.store.futures import complete
from shuttle.store.notices import NoticeListener, send_notices
from shuttle.store.postgres_connection import (
    TRANSACTION,
    Outcome,
    ThreadConnection,
    connector,
    engine_of,
    parameters_of,
)
from shuttle.store.postgres_errors import is_lost, is_repeatable, postgres_error, running_error
from shuttle.store.postgres_migrate import bring_postgres_up_to_date
from shuttle.store.request_time import REQUEST_SECONDS, transaction_seconds
from shuttle.store.tx import Notice, Subscriptions, Topic, Tx

log = structlog.get_logger()

# A thread mostly waits for the server, and the number of a server's connections is limited.
_THREADS = 4
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.5
_OUTCOME_POLL_SECONDS = 0.1


@dataclass(slots=True)
class _Task:
    """A transaction that a caller waits for; `connection` is the one that is executing it.

    `committing`: a COMMIT of what it has written may have been sent.
    """

    query: Callable[[Tx], Any]
    now: Moment
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    ends_at: float
    owned: tuple[Ownership, ...]
    lock: threading.Lock = field(default_factory=threading.Lock)
    connection: ThreadConnection | None = None
    over: bool = False
    committing: bool = False

    @property
    def seconds_left(self) -> float:
        return self.ends_at - time.monotonic()

    def give_up(self) -> None:
        """Abort the transaction, because its caller no longer waits; the server rolls it back unless it committed."""
        with self.lock:
            self.over = True
            if self.connection is not None:
                self.connection.abort()

    def attach(self, connection: ThreadConnection | None) -> bool:
        """Set the connection that executes the transaction; False = the task was given up."""
        with self.lock:
            self.connection = connection
            return not self.over

    def begin_commit(self) -> bool:
        """Report that a COMMIT is about to be sent; False = the task was given up."""
        with self.lock:
            self.committing = not self.over
            return self.committing


class PostgresDatabase:
    """The Database port over PostgreSQL, by a synchronous driver in threads.

    A read takes 92 µs of the event loop's time, and 745 µs through SQLAlchemy's asynchronous bridge (measured). Nothing
    depends on the state of a session, so a pooler in transaction mode can be used.
    """

    alone = False

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        listen_url: str = "",
        migrate_url: str = "",
        answer_seconds: float = REQUEST_SECONDS,
    ) -> None:
        """`listen_url` leads past a pooler in transaction mode, which cannot pass notices on; "" = as `url`.

        `migrate_url` is for migrations; "" = as `url`.
        """
        self.instance = str(uuid.uuid4())
        self.notifies = True
        self.takes_apps = True
        self._listen_parameters = parameters_of(listen_url or url)
        self._url, self._migrate_url = url, migrate_url
        self._answer_seconds = answer_seconds
        self._engine = engine_of(connector(url), TRANSACTION)
        self._clock = clock
        self._subscriptions = Subscriptions()
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closing = False

    def subscribe(self, topic: Topic, callback: Callable[[str], None]) -> None:
        """See the port."""
        self._subscriptions.add(topic, callback)

    async def migrate(self) -> str:
        """See the port. Raises SettingsError if the server refuses the connection."""
        try:
            return await asyncio.to_thread(bring_postgres_up_to_date, self._migrate_url or self._url)
        except sa.exc.SQLAlchemyError as error:
            found = postgres_error(error)
            if not self._migrate_url:
                raise found from error
            raise type(found)(found.message.replace("DATABASE_URL", "SHUTTLE_DATABASE_MIGRATE_URL")) from error

    async def run(
        self,
        query: Callable[Concatenate[Tx, Parameters], Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """See the port. Returns or raises within `answer_seconds`, whatever the server or the network does."""
        if self._closing:
            raise StoreError("The database is closed because the shuttle is shutting down.")
        self._start_threads()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        with transaction_seconds() as left_seconds:
            seconds = self._answer_seconds if left_seconds is None else min(left_seconds, self._answer_seconds)
            ends_at = time.monotonic() + seconds
            owned = current_ownership()
            task = _Task(lambda tx: query(tx, *args, **kwargs), self._clock.moment(), future, loop, ends_at, owned)
            self._tasks.put(task)
            timer = loop.call_later(seconds, self._give_up, task)
            try:
                return await future
            finally:
                if future.done() and not future.cancelled():
                    timer.cancel()

    def _give_up(self, task: _Task) -> None:
        task.give_up()
        if not task.future.done():
            error = OutcomeUnknownError if task.committing else StoreError
            task.future.set_exception(error("The database does not answer; check the server of DATABASE_URL."))

    async def listen(self) -> None:
        """See the port."""
        await NoticeListener(self._listen_parameters, self.instance, self._subscriptions.send).run()

    async def close(self) -> None:
        """See the port."""
        if self._closing:
            return
        self._closing = True
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._engine.dispose()

    def _start_threads(self) -> None:
        while len(self._threads) < _THREADS:
            thread = threading.Thread(target=self._serve, name=f"postgres {len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        connection = ThreadConnection(self._engine)
        while (task := self._tasks.get()) is not None:
            notices: list[Notice] = []
            try:
                result = self._run_with_retries(task, connection, notices)
            except Exception as error:  # noqa: BLE001 - raised in the caller
                result, notices = error, []
            task.attach(None)
            self._answer(task, result, notices)
        connection.close()

    def _run_with_retries(self, task: _Task, connection: ThreadConnection, notices: list[Notice]) -> Any:
        """Run the transaction, and repeat it after errors that a retry may solve, if it was rolled back."""
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            notices.clear()
            try:
                return self._run_once(task, connection, notices)
            except sa.exc.SQLAlchemyError as error:
                if is_lost(error):
                    connection.close()
                if task.over or not (is_lost(error) or is_repeatable(error)) or task.seconds_left < pause_seconds:
                    raise running_error(error) from None
            metrics.DATABASE_RETRIES.inc()
            time.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)

    def _run_once(self, task: _Task, connection: ThreadConnection, notices: list[Notice]) -> Any:
        if not task.attach(connection):
            raise StoreError("The database did not answer in time.")
        opened = connection.open()
        with opened.begin() as transaction:
            tx = Tx(opened, task.now, self.instance, notices, self.takes_apps)
            result = task.query(tx)
            if tx.wrote:
                check_owner(tx, task.owned)
            if notices and self.notifies:
                send_notices(tx)
            transaction_id = tx.transaction_id or (connection.transaction_id() if tx.wrote else None)
            if tx.wrote and not task.begin_commit():
                raise StoreError("The database did not answer in time.")
            try:
                transaction.commit()
            except sa.exc.SQLAlchemyError as error:
                if not is_lost(error) or self._outcome(task, connection, transaction_id) is not Outcome.COMMITTED:
                    raise
        return result

    def _outcome(self, task: _Task, connection: ThreadConnection, transaction_id: str | None) -> Outcome:
        """Ask the server for the outcome of a transaction when the response to its COMMIT was lost."""
        if transaction_id is None:
            return Outcome.ROLLED_BACK  # it wrote nothing
        log.warning("the response to a COMMIT was lost; the server is asked for its outcome")
        while task.seconds_left > 0 and not task.over:
            connection.close()
            with suppress(sa.exc.SQLAlchemyError):
                outcome = connection.outcome_of(transaction_id)
                if outcome is not Outcome.IN_PROGRESS:
                    return outcome
            time.sleep(_OUTCOME_POLL_SECONDS)
        raise OutcomeUnknownError("The database did not answer a COMMIT; check the server of DATABASE_URL.")

    def _answer(self, task: _Task, result: Any, notices: Sequence[Notice]) -> None:
        def hand_over() -> None:
            self._subscriptions.send(notices)
            complete(task.future, result)

        with suppress(RuntimeError):  # the loop is closed, so no caller waits
            task.loop.call_soon_threadsafe(hand_over)
