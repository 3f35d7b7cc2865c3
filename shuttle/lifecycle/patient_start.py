"""The start waits for PostgreSQL: migrations may use another URL, and a server may restart between any two steps."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

import structlog

from shuttle.errors import BeingFilledError, StoreError, StoreFaultError

log = structlog.get_logger()

_Result = TypeVar("_Result")

_PAUSE_SECONDS = 1.0


class PatientStart(NamedTuple):
    """`waits` = whether the database is a server; before each retry `on_wait` is called with a sentence."""

    waits: bool
    on_wait: Callable[[str], None]

    async def step(self, step: Callable[[], Awaitable[_Result]]) -> _Result:
        """Repeat the step until the database is available. Raises StoreError if it is no server, or if waiting is vain.

        While `shuttle migrate` fills the database, which may take hours, the error is raised at once.
        """
        while True:
            try:
                return await step()
            except (BeingFilledError, StoreFaultError):
                raise
            except StoreError as error:
                if not self.waits:
                    raise
                log.warning("the start waits for the database", error=error.message)
                self.on_wait(error.message)
                await asyncio.sleep(_PAUSE_SECONDS)
