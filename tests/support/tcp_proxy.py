"""A TCP proxy before a real server that disturbs connections, chosen by a seeded random generator."""

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

KINDS = ("latency", "cut", "reset", "black hole", "slow read")
_BLOCK_BYTES = 64 * 1024
_LATENCY_SECONDS = 0.05
_SLOW_BYTES = 700
# Like a firewall that has forgotten a connection: nothing is passed on, and finally the connection is reset.
_BLACK_HOLE_SECONDS = 2.0
# Makes close() send RST instead of FIN.
_NO_LINGER = struct.pack("ii", 1, 0)

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Disturbance:
    """How a connection is disturbed during its next `stretch_bytes` of both directions together.

    Of these, `left_bytes` are still passed on; then `cut` and `reset` break the connection.
    """

    kind: str | None
    left_bytes: float
    stretch_bytes: float


@dataclass
class TcpProxy:
    """Passes connections on to `target_port` of loopback; disturbs `share` of them by one of `kinds`.

    `stop_faults` ends that. With `stretch_bytes` the choice is made again after each such number of bytes, so that a
    persistent connection is disturbed as often as many short ones.
    """

    seed: int
    share: float
    longest_before_cut_bytes: int
    kinds: tuple[str, ...] = KINDS
    stretch_bytes: float = float("inf")
    target_port: int = 0
    url: str = ""
    disturbed: Counter[str] = field(default_factory=Counter)
    passed: int = 0
    _random: random.Random = field(init=False)
    _passing: asyncio.Event = field(default_factory=asyncio.Event)
    _accepted_one: asyncio.Event = field(default_factory=asyncio.Event)
    _serving: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)
    _server: asyncio.Server | None = None

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._passing.set()

    async def listen(self) -> None:
        """Accept connections; after `refuse`, on the same port again."""
        port = int(self.url.rpartition(":")[2]) if self.url else 0
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def refuse(self) -> None:
        """Close all connections and refuse new ones, like a port on which nothing listens."""
        if self._server is not None:
            # asyncio (3.11) never closes a connection that was accepted just before the server closes.
            for listening in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listening.fileno())
            for _ in range(3):
                await asyncio.sleep(0)
            self._server.close()
        serving = dict(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        for writer in serving.values():  # a task that was cancelled before its first step has not closed its connection
            writer.transport.abort()

    async def until_accepted(self) -> None:
        """Wait until the first connection was accepted."""
        await self._accepted_one.wait()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted_one.set()
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving[task] = writer
        task.add_done_callback(self._serving.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.serve(reader, writer)
        except asyncio.CancelledError:
            reset(writer)
            raise

    def stop_faults(self) -> None:
        """Disturb no further connections; those that are already disturbed stay so."""
        self.share = 0
        self._passing.set()

    def fall_silent(self) -> None:
        """Pass nothing on until `stop_faults`, on old and new connections, without closing any."""
        self._passing.clear()

    def _choose_disturbance(self) -> Disturbance:
        if self._random.random() >= self.share:
            self.passed += 1
            return Disturbance(None, float("inf"), self.stretch_bytes)
        kind = self._random.choice(self.kinds)
        self.disturbed[kind] += 1
        cut_after = self._random.randrange(self.longest_before_cut_bytes)
        return Disturbance(kind, cut_after if kind in {"cut", "reset"} else float("inf"), self.stretch_bytes)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection to its end."""
        disturbance = self._choose_disturbance()
        if disturbance.kind == "black hole":
            await asyncio.sleep(_BLACK_HOLE_SECONDS)
            reset(writer)
            return
        await self._passing.wait()
        try:
            theirs = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            reset(writer)
            return
        await self._carry((reader, writer), theirs, disturbance)

    async def _carry(self, ours: _Streams, theirs: _Streams, disturbance: Disturbance) -> None:
        broken = asyncio.Event()
        ways = [
            asyncio.create_task(self._pass(ours[0], theirs[1], disturbance, broken)),
            asyncio.create_task(self._pass(theirs[0], ours[1], disturbance, broken)),
        ]
        waiting = asyncio.create_task(broken.wait())
        both = asyncio.gather(*ways, return_exceptions=True)
        try:
            outcomes: list[asyncio.Future[Any]] = [both, waiting]
            await asyncio.wait(outcomes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*ways, waiting):
                task.cancel()
            for writer in (ours[1], theirs[1]):
                if broken.is_set() and disturbance.kind != "cut":
                    reset(writer)
                else:
                    writer.close()
            await asyncio.gather(both, waiting, return_exceptions=True)

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        disturbance: Disturbance,
        broken: asyncio.Event,
    ) -> None:
        """Pass one direction on until its sender ends it; if it breaks, the other direction breaks, too."""
        try:
            while block := await reader.read(_SLOW_BYTES if disturbance.kind == "slow read" else _BLOCK_BYTES):
                await self._passing.wait()
                if not await self._pass_block(block, writer, disturbance):
                    broken.set()
                    return
            writer.write_eof()
        except OSError:
            broken.set()

    async def _pass_block(self, block: bytes, writer: asyncio.StreamWriter, disturbance: Disturbance) -> bool:
        """Pass a block on; False = the connection breaks within it."""
        if disturbance.kind == "black hole":
            await asyncio.sleep(_BLACK_HOLE_SECONDS)
            return False
        if disturbance.kind in {"latency", "slow read"}:
            await asyncio.sleep(_LATENCY_SECONDS)
        allowed = block[: int(min(disturbance.left_bytes, len(block)))]
        disturbance.left_bytes -= len(allowed)
        disturbance.stretch_bytes -= len(allowed)
        writer.write(allowed)
        await writer.drain()
        if len(allowed) < len(block):
            return False
        if disturbance.stretch_bytes <= 0:
            following = self._choose_disturbance()
            disturbance.kind, disturbance.left_bytes = following.kind, following.left_bytes
            disturbance.stretch_bytes = following.stretch_bytes
        return True


def reset(writer: asyncio.StreamWriter) -> None:
    """Close the connection with RST."""
    found = writer.get_extra_info("socket")
    with suppress(OSError):  # the other side was faster
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    writer.transport.abort()


@asynccontextmanager
async def tcp_proxy(
    seed: int,
    share: float,
    *,
    longest_before_cut_bytes: int = 3000,
    kinds: tuple[str, ...] = KINDS,
    stretch_bytes: float = float("inf"),
) -> AsyncIterator[TcpProxy]:
    """A proxy on its own port; `target_port` may be set later.

    The default length cuts within messages: those of a small build have some hundred to some thousand bytes.
    """
    proxy = TcpProxy(seed, share, longest_before_cut_bytes, kinds, stretch_bytes)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.refuse()
