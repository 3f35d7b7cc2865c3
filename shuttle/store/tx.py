"""A transaction as queries use it, and the notices that it sends."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

from shuttle.clock import Moment


class Topic(StrEnum):
    """The subject of a notice."""

    DELIVERIES = "deliveries"  # a status may be due
    BUILD = "build"  # the row of this build, or a row that belongs to it, has changed
    WORKER = "worker"  # the worker may have to start or end something, perhaps for this build
    RELEASED = "released"  # an app may have no owner: a replica has released its apps, or a new app has none
    DELETED_APPS = "deleted_apps"  # an app was deleted, or the log of a build was archived


# The number of the advisory lock: "slots" as ASCII.
_SLOTS = 0x736C6F7473


class Notice(NamedTuple):
    """Says that something has changed; subscribers read the rows again. `build_uuid` "" = no particular build."""

    topic: Topic
    build_uuid: str


@dataclass(slots=True)
class Tx:
    """The transaction that a query gets; `now` is when `run` was called, `instance` the process that runs it.

    A process that is being stopped, or releases its apps, takes no more apps (`takes_apps`). `transaction_id` is
    PostgreSQL's; None = it was not read yet, or nothing was written.

    A query has no effects except through its `Tx`, so that a rollback undoes all of them.
    """

    connection: sa.Connection
    now: Moment
    instance: str = ""
    notices: list[Notice] = field(default_factory=list)
    takes_apps: bool = True
    wrote: bool = False
    transaction_id: str | None = None

    def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[*tuple[Any, ...]]:
        """Execute the statement, once for each of `parameters` if that is a list."""
        self.wrote = self.wrote or not isinstance(statement, sa.Select)
        return self.connection.execute(statement, parameters)

    @property
    def alone(self) -> bool:
        """Whether no other process can serve from the database, so that this one owns all apps."""
        return self.connection.dialect.name == "sqlite"

    def lock_slots(self) -> None:
        """Wait until no other transaction assigns slots. SQLite needs no lock, as it has one writer."""
        if not self.alone:
            self.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SLOTS)))

    def notify(self, topic: Topic, build_uuid: str = "") -> None:
        """Send the notice after the commit."""
        self.notices.append(Notice(topic, build_uuid))


class Subscriptions:
    """Sends the notices of committed transactions to their subscribers. Used from one event loop."""

    def __init__(self) -> None:
        self._callbacks: defaultdict[Topic, list[Callable[[str], None]]] = defaultdict(list)

    def add(self, topic: Topic, callback: Callable[[str], None]) -> None:
        """Call `callback` with the build uuid of each notice of the topic."""
        self._callbacks[topic].append(callback)

    def send(self, notices: Iterable[Notice]) -> None:
        """Send each notice once, even if several transactions caused it."""
        for topic, build_uuid in dict.fromkeys(notices):
            for callback in self._callbacks[topic]:
                callback(build_uuid)
