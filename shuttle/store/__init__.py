"""The interface of the database; queries are functions of a `Tx`, which every implementation can run.

A caller writes `await database.run(claim_build, build_uuid, new)`: one transaction, durable when it returns.
"""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from shuttle.store.tx import Topic, Tx

__all__ = ["Database", "Parameters", "Result", "Topic", "Tx"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Database(Protocol):
    """Runs queries in transactions. Safe for any number of tasks of one event loop.

    `instance` is the uuid of this start of this process. `alone` = no other process can serve from the database.
    `notifies` = notices are also sent to the other processes, which makes commits slower. `takes_apps` = this process
    becomes the owner of apps whose builds it accepts.
    """

    instance: str
    alone: bool
    notifies: bool
    takes_apps: bool

    async def migrate(self) -> str:
        """Migrate the schema to this version's revision, and return it. Call it before `run`. Raises StoreError."""

    async def run(
        self,
        query: Callable[Concatenate[Tx, Parameters], Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Run `query` in one transaction; durable (fsync) when this returns.

        If `query` raises, the transaction is rolled back and the exception is raised here. `query` may be run again
        after a rollback, so it must have no effects except on its `Tx`. Cancelling the caller does not undo the
        transaction. Raises StoreError, within what is left of the request's time (see `request_time`). Raises
        NotOwnerError if the current task works for an app that another replica has taken (see `fence`).
        """

    async def listen(self) -> None:
        """Receive the notices of other processes until cancelled; they reach the callbacks given to `subscribe`."""

    def subscribe(self, topic: Topic, callback: Callable[[str], None]) -> None:
        """Call `callback` with the build uuid of each notice of the topic, after the commit; "" = look at all rows."""

    async def close(self) -> None:
        """Finish the transactions that were requested, then release the database. Idempotent."""
