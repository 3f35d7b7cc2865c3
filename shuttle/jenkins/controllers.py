"""The Jenkins controllers of JENKINS_URL by their names, and how long each has been unreachable from here."""

import asyncio
from collections.abc import Iterator, Mapping

from shuttle.errors import JenkinsUnavailableError, ShuttleError
from shuttle.jenkins import Jenkins
from shuttle.jenkins.budget import PollBudget

_PROBE_TIMEOUT_SECONDS = 10.0


class Controllers:
    """The clients of the controllers. The name is a controller's identity: its URL may change. Used from one loop."""

    def __init__(self, clients: Mapping[str, Jenkins], budgets: Mapping[str, PollBudget]) -> None:
        """Each client has its budget of polls."""
        self._clients = clients
        self._budgets = budgets
        self._clock = asyncio.get_running_loop().time
        self._unreachable_since: dict[str, float] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._clients)

    def __len__(self) -> int:
        return len(self._clients)

    def of(self, name: str) -> Jenkins:
        """The client of a controller. Raises JenkinsUnavailableError if JENKINS_URL does not list it."""
        client = self._clients.get(name)
        if client is None:
            raise JenkinsUnavailableError(
                f"JENKINS_URL does not list the controller {name}." if name else "No Jenkins controller is chosen yet."
            )
        return client

    @property
    def only(self) -> str:
        """The name of the controller if there is exactly one, else "": then one is chosen for each app."""
        return next(iter(self._clients)) if len(self._clients) == 1 else ""

    @property
    def polls_per_second(self) -> float:
        """How many polls a second this process may send to each controller."""
        return next(iter(self._budgets.values())).polls_per_second

    @polls_per_second.setter
    def polls_per_second(self, value: float) -> None:
        for budget in self._budgets.values():
            budget.polls_per_second = value

    def unreachable_seconds(self) -> dict[str, float]:
        """For each controller, how long no probe has reached it; 0 = the newest one has."""
        now = self._clock()
        return {name: now - self._unreachable_since.get(name, now) for name in self._clients}

    async def probe(self) -> None:
        """Check which controllers answer. One that refuses the user in JENKINS_URL counts as reachable."""
        await asyncio.gather(*map(self._probe, self._clients))

    async def by_load(self) -> list[str]:
        """The controllers that answer, those with the shortest queue per executor first."""
        loads = dict(zip(self._clients, await asyncio.gather(*map(self._load, self._clients)), strict=True))
        known = sorted((load, name) for name, load in loads.items() if load is not None)
        return [name for _, name in known]

    async def close(self) -> None:
        """Close all clients."""
        for client in self._clients.values():
            await client.close()

    async def _probe(self, name: str) -> None:
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_SECONDS):
                await self._clients[name].check()
        except (JenkinsUnavailableError, TimeoutError):
            self._unreachable_since.setdefault(name, self._clock())
            return
        except ShuttleError:
            pass  # it refuses the user, so it is reachable
        self._unreachable_since.pop(name, None)

    async def _load(self, name: str) -> tuple[float, float] | None:
        """Waiting items and used executors, both per executor; None = it does not answer."""
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_SECONDS):
                load = await self._clients[name].load()
        except (ShuttleError, TimeoutError):
            return None
        executors = max(load.executors, 1)  # there may be none while no build runs, if agents are started on demand
        return load.waiting / executors, load.busy / executors
