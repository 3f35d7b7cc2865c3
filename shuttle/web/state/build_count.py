"""The number of builds that `GET /-/state/status` shows, counted at most once in some seconds: anybody may call it."""

import asyncio
import math

from aiohttp import web

from shuttle.errors import UnavailableError
from shuttle.store import Database
from shuttle.store.backlog import count_builds

_CACHE_SECONDS = 5.0
_COUNT_SECONDS = 3.0


class BuildCount:
    """Caches the count; callers that come while it is counted wait for that result. Used from one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = asyncio.Lock()
        self._count: int | None = None
        self._counted_at = -math.inf

    async def current(self) -> int | None:
        """The number of builds, up to some seconds old; None if the database does not answer in time."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if now >= self._counted_at + _CACHE_SECONDS:
                self._count, self._counted_at = await self._counted(), now
            return self._count

    async def _counted(self) -> int | None:
        try:
            async with asyncio.timeout(_COUNT_SECONDS):
                return await self._database.run(count_builds)
        except (TimeoutError, UnavailableError):
            return None


BUILD_COUNT: web.AppKey[BuildCount] = web.AppKey("build_count", BuildCount)
