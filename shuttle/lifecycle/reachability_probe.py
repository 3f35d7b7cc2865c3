"""Probes at intervals which Jenkins controllers can be reached from here, and whether the object store can."""

import asyncio

from shuttle.errors import ShuttleError
from shuttle.jenkins.controllers import Controllers
from shuttle.objects import ObjectStore
from shuttle.reachability import Reachability

# Two heartbeats by default: each heartbeat records the newest result, for the other replicas.
_INTERVAL_SECONDS = 10.0
_PROBE_TIMEOUT_SECONDS = 10.0


class ReachabilityProbe:
    """Has the newest results. Start `run` once; before the first probe everything counts as reachable."""

    def __init__(self, controllers: Controllers, objects: ObjectStore, *, interval_seconds: float) -> None:
        self._controllers = controllers
        self._objects = objects
        self._interval_seconds = min(interval_seconds, _INTERVAL_SECONDS)
        self._clock = asyncio.get_running_loop().time
        self._store_lost_at: float | None = None

    def result(self) -> Reachability:
        """What can be reached, by the newest probes."""
        store = 0.0 if self._store_lost_at is None else self._clock() - self._store_lost_at
        return Reachability(store, self._controllers.unreachable_seconds())

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            await asyncio.gather(self._controllers.probe(), self._probe_store())
            await asyncio.sleep(self._interval_seconds)

    async def _probe_store(self) -> None:
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_SECONDS):
                await self._objects.check()
        except (ShuttleError, TimeoutError):
            if self._store_lost_at is None:
                self._store_lost_at = self._clock()
        else:
            self._store_lost_at = None
