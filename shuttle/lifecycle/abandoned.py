"""Ends records about which no calls arrive any more: their CI system was removed, or has lost them."""

import asyncio

import structlog

from shuttle.build import Ending, State
from shuttle.errors import UnavailableError
from shuttle.lifecycle import Services
from shuttle.store.record_ends import abandoned_records
from shuttle.store.transitions import finish_build

log = structlog.get_logger()

_BATCH_SIZE = 100
_LONGEST_PAUSE_SECONDS = 60.0


class AbandonedRecords:
    """Searches for abandoned records at intervals, and ends them; a search that fails is repeated."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._idle_seconds = services.settings.shuttle_record_idle_seconds

    async def run(self) -> None:
        """Run until cancelled."""
        pause_seconds = min(self._idle_seconds / 10, _LONGEST_PAUSE_SECONDS)
        while True:
            try:
                await self.end_all()
            except UnavailableError as error:
                log.warning("abandoned records could not be ended and will be looked for again", error=error.message)
            await asyncio.sleep(pause_seconds)

    async def end_all(self) -> None:
        """End every record without a call for SHUTTLE_RECORD_IDLE_SECONDS."""
        run = self._services.database.run
        message = f"No call about this build has arrived for {self._idle_seconds:g} seconds."
        ending = Ending(State.TIMEDOUT, "record_abandoned", message)
        while found := await run(abandoned_records, self._idle_seconds, limit=_BATCH_SIZE):
            for build_uuid in found:
                await run(finish_build, build_uuid, ending)
