"""Record the current steady time regularly, so that the next process continues it (see `shuttle.clock`)."""

import asyncio

import structlog

from shuttle.errors import UnavailableError
from shuttle.lifecycle import Services
from shuttle.store.steady_time import write_steady_time

log = structlog.get_logger()

# A reboot of the machine lengthens limits by its downtime, and by up to this time.
_INTERVAL_SECONDS = 10.0


async def record_steady_time(services: Services) -> None:
    """Run until cancelled."""
    while True:
        await asyncio.sleep(_INTERVAL_SECONDS)
        try:
            services.clock.catch_up(await services.database.run(write_steady_time, services.clock.anchor()))
        except UnavailableError as error:
            log.warning("the steady time could not be recorded", error=error.message)
