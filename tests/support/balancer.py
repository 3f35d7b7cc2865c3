"""A small TCP load balancer before several replicas: each connection goes to the next one that accepts it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

_BLOCK_BYTES = 64 * 1024


@dataclass
class Balancer:
    """Passes connections on to one of `ports` of loopback. Ports in `out` get no new connections; `cut` ends those
    that they have."""

    ports: list[int]
    url: str = ""
    out: set[int] = field(default_factory=set)
    _next: "count[int]" = field(default_factory=count)
    _passing: dict[asyncio.Task[None], int] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on, in both directions, until either side ends it."""
        task = asyncio.current_task()
        assert task is not None
        self._passing[task] = 0
        task.add_done_callback(self._passing.pop)
        try:
            backend = await self._connect()
            if backend is not None:
                self._passing[task], from_backend, to_backend = backend
                await asyncio.gather(_copy(reader, to_backend), _copy(from_backend, writer))
        finally:
            writer.close()

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

    async def end(self) -> None:
        """End all connections."""
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)


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
