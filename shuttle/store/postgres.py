"""PostgreSQL: a few threads, each with a connection, run one transaction at a time."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any, Concatenate

import sqlalchemy as sa
import structlog

from shuttle.clock import Clock, Moment
from shuttle.errors import StoreError
from shuttle.store import Parameters, Result
from shuttle.store.futures import complete
from shuttle.store.migrate import bring_up_to_date
from shuttle.store.postgres_connection import MIGRATION, TRANSACTION, Link, Outcome, connector, engine_of
from shuttle.store.postgres_errors import is_lost, is_repeatable, postgres_error
from shuttle.store.sole_owner import NotOwnerError, SoleOwner
from shuttle.store.tx import Notice, Subscriptions, Topic, Tx

log = structlog.get_logger()

# A thread waits for the server most of its time, and a server has few connections to give.
_THREADS = 4
# Whoever asks is answered within this, so that a caller of ours gets its 503 within three seconds.
ANSWER_SECONDS = 2.5
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.5
_COMMIT_LOOK_SECONDS = 0.1


@dataclass(slots=True)
class _Task:
    """What a caller waits for. `link` is the connection that is at work on it."""

    query: Callable[[Tx], Any]
    now: Moment
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    ends_at: float
    lock: threading.Lock = field(default_factory=threading.Lock)
    link: Link | None = None
    over: bool = False

    @property
    def seconds_left(self) -> float:
        return self.ends_at - time.monotonic()

    def give_up(self) -> None:
        """Nobody waits any more: what the server has not committed is undone."""
        with self.lock:
            self.over = True
            if self.link is not None:
                self.link.cut()

    def take(self, link: Link | None) -> bool:
        """Say which connection works on it; False = it was given up."""
        with self.lock:
            self.link = link
            return not self.over


class PostgresDatabase:
    """The Database port over PostgreSQL, by a synchronous driver in threads.

    A read costs the loop 92 µs this way and 745 µs through SQLAlchemy's asynchronous bridge (measured). Nothing of it
    depends on a session, so a pooler in transaction mode may stand between.
    """

    def __init__(
        self, url: str, clock: Clock, *, sole_owner: bool = True, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        """`sole_owner`: no other process may serve from the database meanwhile."""
        self._answer_seconds = answer_seconds
        self._connect = connector(url)
        self._engine = engine_of(self._connect, TRANSACTION)
        self._clock = clock
        self._owner = SoleOwner(self._connect) if sole_owner else None
        self._subscriptions = Subscriptions()
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closing = False

    def subscribe(self, topic: Topic, callback: Callable[[str], None]) -> None:
        """See the port."""
        self._subscriptions.add(topic, callback)

    async def migrate(self) -> str:
        """See the port. Raises SettingsError when the server refuses us, or another shuttle serves from it."""
        if self._owner is not None:
            await asyncio.to_thread(self._owner.take)
        try:
            return await asyncio.to_thread(partial(bring_up_to_date, engine_of(self._connect, MIGRATION)))
        except sa.exc.SQLAlchemyError as error:
            raise postgres_error(error) from error

    async def run(
        self,
        query: Callable[Concatenate[Tx, Parameters], Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """See the port. Raises StoreError within `answer_seconds`, whatever the server or the network does."""
        if self._closing:
            raise StoreError("The database is closed because the shuttle is going down.")
        self._start_threads()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        ends_at = time.monotonic() + self._answer_seconds
        task = _Task(lambda tx: query(tx, *args, **kwargs), self._clock.moment(), future, loop, ends_at)
        self._tasks.put(task)
        timer = loop.call_later(self._answer_seconds, self._give_up, task)
        try:
            return await future
        finally:
            if future.done() and not future.cancelled():
                timer.cancel()

    def _give_up(self, task: _Task) -> None:
        task.give_up()
        if not task.future.done():
            task.future.set_exception(StoreError("The database does not answer; check the server of DATABASE_URL."))

    async def close(self) -> None:
        """See the port."""
        if self._closing:
            return
        self._closing = True
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        if self._owner is not None:
            await asyncio.to_thread(self._owner.release)
        self._engine.dispose()

    def _start_threads(self) -> None:
        while len(self._threads) < _THREADS:
            thread = threading.Thread(target=self._serve, name=f"postgres {len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        link = Link(self._engine)
        while (task := self._tasks.get()) is not None:
            notices: list[Notice] = []
            try:
                result = self._until_done(task, link, notices)
            except Exception as error:  # noqa: BLE001 - handed over to the caller
                result, notices = error, []
            task.take(None)
            self._answer(task, result, notices)
        link.close()

    def _until_done(self, task: _Task, link: Link, notices: list[Notice]) -> Any:
        """Run the transaction, again where the server says so and nothing of it was kept."""
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            notices.clear()
            try:
                if self._owner is not None:
                    self._owner.check()
                return self._once(task, link, notices)
            except NotOwnerError:
                if task.over or task.seconds_left < pause_seconds:
                    raise
            except sa.exc.SQLAlchemyError as error:
                if is_lost(error):
                    link.close()
                if task.over or not (is_lost(error) or is_repeatable(error)) or task.seconds_left < pause_seconds:
                    raise postgres_error(error) from None
            time.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)

    def _once(self, task: _Task, link: Link, notices: list[Notice]) -> Any:
        if not task.take(link):
            raise StoreError("The database did not answer in time.")
        connection = link.open()
        with connection.begin() as transaction:
            tx = Tx(connection, task.now, notices)
            result = task.query(tx)
            wrote = link.transaction_id() if tx.wrote else None
            try:
                transaction.commit()
            except sa.exc.SQLAlchemyError as error:
                if not is_lost(error) or self._outcome(task, link, wrote) is not Outcome.COMMITTED:
                    raise
        return result

    def _outcome(self, task: _Task, link: Link, transaction_id: str | None) -> Outcome:
        """What became of a transaction whose COMMIT was not answered: asked of the server once it is back."""
        if transaction_id is None:
            return Outcome.UNDONE  # it wrote nothing
        log.warning("the answer to a COMMIT was lost; the database is asked what became of it")
        while task.seconds_left > 0 and not task.over:
            link.close()
            with suppress(sa.exc.SQLAlchemyError):
                outcome = link.outcome_of(transaction_id)
                if outcome is not Outcome.OPEN:
                    return outcome
            time.sleep(_COMMIT_LOOK_SECONDS)
        raise StoreError("The database is away, and it is unknown whether it recorded this: ask again.")

    def _answer(self, task: _Task, result: Any, notices: Sequence[Notice]) -> None:
        def hand_over() -> None:
            self._subscriptions.send(notices)
            complete(task.future, result)

        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            task.loop.call_soon_threadsafe(hand_over)
