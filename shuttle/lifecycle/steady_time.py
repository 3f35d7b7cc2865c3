"""Put on record how far steady time is, so that the next process continues it (see `shuttle.clock`)."""

import asyncio

import structlog

from shuttle.errors import UnavailableError
from shuttle.lifecycle import Services
from shuttle.store.steady_time import write_steady_time

log = structlog.get_logger()

# What limits are lengthened by when the machine starts anew, beside the time that it was down.
_EVERY_SECONDS = 10.0


async def record_steady_time(services: Services) -> None:
    """Until cancelled."""
    while True:
        await asyncio.sleep(_EVERY_SECONDS)
        try:
            await services.database.run(write_steady_time, services.clock.anchor())
        except UnavailableError as error:
            log.warning("the time for limits waits to be recorded", error=error.message)
