"""Continue the recorded steady time, and record it regularly for the next process (see `shuttle.clock`)."""

import asyncio

import structlog

from shuttle.clock import Clock
from shuttle.errors import UnavailableError
from shuttle.lifecycle import Services
from shuttle.store import Database
from shuttle.store.steady_time import first_steady_time, write_steady_time

log = structlog.get_logger()

# A reboot of the machine lengthens limits by its downtime, and by up to this time.
_INTERVAL_SECONDS = 10.0


async def resume_steady_time(clock: Clock, database: Database) -> None:
    """Continue the recorded steady time, or begin it for all replicas. Raises StoreError."""
    clock.resume(await database.run(first_steady_time, clock.anchor()))
    clock.catch_up(await database.run(write_steady_time, clock.anchor()))


async def record_steady_time(services: Services) -> None:
    """Run until cancelled."""
    while True:
        await asyncio.sleep(_INTERVAL_SECONDS)
        try:
            services.clock.catch_up(await services.database.run(write_steady_time, services.clock.anchor()))
        except UnavailableError as error:
            log.warning("the steady time could not be recorded", error=error.message)
