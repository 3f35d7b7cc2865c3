"""The balancer of the demo, which can also take replicas out, by their /readyz or on demand."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import aiohttp

from shuttle.cli.demo.balancer import Balancer as PassingBalancer

_PROBE_SECONDS = 0.1
# As docs/scaling.md recommends; a frozen replica answers no probe.
_TIMEOUT = aiohttp.ClientTimeout(total=7)


class Balancer(PassingBalancer):
    """Ports in `out` get no new connections, unless all of them are out; `cut` ends those that they have."""

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__(ports)
        self.out: set[int] = set()
        # How often each replica was cut off: a probe that was answered before that says nothing.
        self._cuts: Counter[int] = Counter()
        self.probed = asyncio.Condition()

    def is_out(self, port: int) -> bool:
        return port in self.out and len(self.out) < len(self.ports)

    def cut(self, port: int) -> None:
        """Take the replica at the port out, and end its connections."""
        self.out.add(port)
        self._cuts[port] += 1
        for task, used in self._passing.items():
            if used == port:
                task.cancel()

    @asynccontextmanager
    async def probing(self, interval_seconds: float = _PROBE_SECONDS) -> AsyncIterator[None]:
        """Within this context, take replicas out and put them back as their /readyz says, which is polled."""
        ended = asyncio.Event()
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as probes:
            for port in self.ports:
                probes.create_task(self._probe(port, session, ended, interval_seconds))
            try:
                yield
            finally:
                ended.set()

    async def _probe(
        self, port: int, session: aiohttp.ClientSession, ended: asyncio.Event, interval_seconds: float
    ) -> None:
        while not ended.is_set():
            cuts = self._cuts[port]
            ready = await _is_ready(port, session)
            ready = ready and self._cuts[port] == cuts
            async with self.probed:
                (self.out.discard if ready else self.out.add)(port)
                self.probed.notify_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(interval_seconds):
                    await ended.wait()

    async def until_in(self, port: int, seconds: float = 30) -> None:
        """Wait until the next probe of the replica has found it ready."""
        async with asyncio.timeout(seconds), self.probed:
            self.out.add(port)
            await self.probed.wait_for(lambda: port not in self.out)


async def _is_ready(port: int, session: aiohttp.ClientSession) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/readyz", timeout=_TIMEOUT) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


@asynccontextmanager
async def balancer(ports: Sequence[int]) -> AsyncIterator[Balancer]:
    """A balancer on a free port."""
    made = Balancer(ports)
    await made.start()
    try:
        yield made
    finally:
        await made.close()
