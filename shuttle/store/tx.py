"""One transaction as queries see it, and the notices that it causes."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

from shuttle.clock import Moment


class Topic(StrEnum):
    """What a notice is about."""

    DELIVERIES = "deliveries"  # a status may be due
    BUILD = "build"  # the row of this build, or a row that belongs to it, has changed
    TURNS = "turns"  # the worker may have something to begin or to end, this build for one
    DELETED_APPS = "deleted_apps"  # an app was deleted, or the log of a build was archived


# Of an advisory lock: "slots" as a number.
_SLOTS = 0x736C6F7473


class Notice(NamedTuple):
    """Says that something changed, never what: its subscribers read the rows again. `build_uuid` "" = no build."""

    topic: Topic
    build_uuid: str


@dataclass(slots=True)
class Tx:
    """A transaction: what a query works with. `now` is when it was asked for.

    Everything that a query does goes through here, so that nothing of it is left when the transaction is rolled back.
    """

    connection: sa.Connection
    now: Moment
    notices: list[Notice] = field(default_factory=list)
    wrote: bool = False

    def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[*tuple[Any, ...]]:
        """Execute the statement, for each of `parameters` if that is a list."""
        self.wrote = self.wrote or not isinstance(statement, sa.Select)
        return self.connection.execute(statement, parameters)

    def lock_slots(self) -> None:
        """Until the end of the transaction nobody else gives slots. SQLite has one writer anyway."""
        if self.connection.dialect.name == "postgresql":
            self.connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SLOTS)))

    def notify(self, topic: Topic, build_uuid: str = "") -> None:
        """Send the notice once the transaction is committed."""
        self.notices.append(Notice(topic, build_uuid))


class Subscriptions:
    """Who gets the notices of committed transactions. Used from one event loop."""

    def __init__(self) -> None:
        self._callbacks: defaultdict[Topic, list[Callable[[str], None]]] = defaultdict(list)

    def add(self, topic: Topic, callback: Callable[[str], None]) -> None:
        """Call `callback` with the build's uuid of each notice of that topic."""
        self._callbacks[topic].append(callback)

    def send(self, notices: Iterable[Notice]) -> None:
        """Each notice once, however often the transactions caused it."""
        for topic, build_uuid in dict.fromkeys(notices):
            for callback in self._callbacks[topic]:
                callback(build_uuid)
