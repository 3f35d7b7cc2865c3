"""A small TCP load balancer before several replicas: each connection goes to the next one that accepts it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

import aiohttp

_BLOCK_BYTES = 64 * 1024
_PROBE_SECONDS = 0.1


@dataclass
class Balancer:
    """Passes connections on to one of `ports` of loopback. Ports in `out` get no new connections; `cut` ends those
    that they have."""

    ports: list[int]
    url: str = ""
    out: set[int] = field(default_factory=set)
    probed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _next: "count[int]" = field(default_factory=count)
    _passing: dict[asyncio.Task[None], int] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on, in both directions, until either side ends it."""
        task = asyncio.current_task()
        assert task is not None
        self._passing[task] = 0
        task.add_done_callback(self._passing.pop)
        writers = [writer]
        try:
            backend = await self._connect()
            if backend is not None:
                self._passing[task], from_backend, to_backend = backend
                writers.append(to_backend)
                await asyncio.gather(_copy(reader, to_backend), _copy(from_backend, writer))
        except asyncio.CancelledError:
            for one in writers:
                one.transport.abort()
            raise
        finally:
            for one in writers:
                one.close()
                with suppress(OSError):
                    await one.wait_closed()

    async def _connect(self) -> tuple[int, asyncio.StreamReader, asyncio.StreamWriter] | None:
        first = next(self._next)
        for index in range(len(self.ports)):
            port = self.ports[(first + index) % len(self.ports)]
            if port not in self.out:
                with suppress(OSError):
                    return port, *await asyncio.open_connection("127.0.0.1", port)
        return None

    def cut(self, port: int) -> None:
        """Take the replica at the port out, and end its connections."""
        self.out.add(port)
        for task, used in self._passing.items():
            if used == port:
                task.cancel()

    @asynccontextmanager
    async def probing(self) -> AsyncIterator[None]:
        """Meanwhile take replicas out and back as their /readyz says, asked periodically as by any balancer."""
        ended = asyncio.Event()
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as probes:
            for port in self.ports:
                probes.create_task(self._probe(port, session, ended))
            try:
                yield
            finally:
                ended.set()

    async def _probe(self, port: int, session: aiohttp.ClientSession, ended: asyncio.Event) -> None:
        while not ended.is_set():
            ready = await _is_ready(port, session)
            async with self.probed:
                (self.out.discard if ready else self.out.add)(port)
                self.probed.notify_all()
            with suppress(TimeoutError):
                async with asyncio.timeout(_PROBE_SECONDS):
                    await ended.wait()

    async def until_in(self, port: int, seconds: float = 30) -> None:
        """Wait until the next probe of the replica has found it ready."""
        async with asyncio.timeout(seconds), self.probed:
            self.out.add(port)
            await self.probed.wait_for(lambda: port not in self.out)

    async def end(self) -> None:
        """End all connections."""
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)


async def _is_ready(port: int, session: aiohttp.ClientSession) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while block := await source.read(_BLOCK_BYTES):
            target.write(block)
            await target.drain()
    target.close()


@asynccontextmanager
async def balancer(ports: list[int]) -> AsyncIterator[Balancer]:
    """A balancer on a free port."""
    made = Balancer(ports)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
        await made.end()
