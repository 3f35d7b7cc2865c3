"""State: one port, `Database`, and queries as plain functions of a `Tx` that any database can run.

A caller writes `await database.run(claim_build, build_uuid, new)`: one transaction, durable when it returns.
"""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from shuttle.store.tx import Topic, Tx

__all__ = ["Database", "Parameters", "Result", "Topic", "Tx"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class Database(Protocol):
    """Runs queries in transactions. Safe for any number of tasks of one loop."""

    async def migrate(self) -> str:
        """Bring the schema to where this version needs it, before anything is run; returns its revision.

        Raises StoreError.
        """

    async def run(
        self,
        query: Callable[Concatenate[Tx, Parameters], Result],
        *args: Parameters.args,
        **kwargs: Parameters.kwargs,
    ) -> Result:
        """Run `query` in one transaction; durable (fsync) when this returns.

        What `query` raises comes out here and nothing of it is kept. `query` may be run again (the run before undone),
        so it must touch nothing but its `Tx`. Cancelling the caller does not undo the transaction. Raises StoreError.
        """

    def subscribe(self, topic: Topic, callback: Callable[[str], None]) -> None:
        """Call `callback` with the build's uuid of each notice of that topic, after the commit."""

    async def close(self) -> None:
        """Finish what was asked, then release the database; idempotent."""
