"""A TCP load balancer for demos and tests: each connection goes to the next replica that accepts it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import count

_BLOCK_BYTES = 64 * 1024


class Balancer:
    """Listens on loopback, and passes each connection on to one of `ports` of loopback, in turn."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.ports = ports
        self.url = ""
        self._server: asyncio.Server | None = None
        self._turn = count()
        # The port to which each connection is passed on; 0 until it is known.
        self._passing: dict[asyncio.Task[None], int] = {}

    async def start(self) -> None:
        """Start listening on a free port, which `url` names afterwards."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop listening, and end all connections; idempotent, also without `start`."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    def is_out(self, _port: int) -> bool:
        """Whether the replica at the port gets no connections; the balancer of the tests overrides it."""
        return False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on, in both directions, until both sides have ended it."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served in a task")
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
        first = next(self._turn)
        for index in range(len(self.ports)):
            port = self.ports[(first + index) % len(self.ports)]
            if not self.is_out(port):
                with suppress(OSError):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    if not self.is_out(port):  # it may have been taken out meanwhile
                        return port, reader, writer
                    writer.close()
        return None


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while block := await source.read(_BLOCK_BYTES):
            target.write(block)
            await target.drain()
    target.close()
