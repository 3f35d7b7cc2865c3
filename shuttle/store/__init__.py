"""State: one port, `Database`, and queries as plain functions of a connection that any database can run.

`Store` in `shuttle.store.store` is the list of what the rest of the shuttle may ask; every method is one transaction.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

import sqlalchemy as sa

Result = TypeVar("Result")


class Database(Protocol):
    """Runs work in transactions. Safe for any number of tasks of one loop."""

    async def run(self, work: Callable[[sa.Connection], Result]) -> Result:
        """Run `work` in one transaction; durable (fsync) when this returns.

        What `work` raises comes out here and nothing of it is kept. `work` may be run twice (the first run undone), so
        it must touch nothing but the connection. Cancelling the caller does not undo the work. Raises StoreError.
        """

    async def close(self) -> None:
        """Finish what was asked, then let go; also fine twice."""
