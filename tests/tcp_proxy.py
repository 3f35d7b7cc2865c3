"""A TCP proxy before a real server whose connections suffer, each in its own way, by a seeded choice."""

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
# What a firewall does with a connection that it has forgotten: nothing passes, and at last it is reset.
_BLACK_HOLE_SECONDS = 2.0
# RST instead of FIN when the socket is closed.
_NO_LINGER = struct.pack("ii", 1, 0)

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class _Fate:
    """What happens to a connection for its next `stretch_bytes`; of them `left_bytes` may pass; both directions count.

    `cut` and `reset` break the connection where `left_bytes` are used up.
    """

    kind: str | None
    left_bytes: float
    stretch_bytes: float


@dataclass
class TcpProxy:
    """Passes connections on to `target_port` of loopback; `share` of them suffer one of `kinds`, until `calm`.

    With `stretch_bytes` a connection is not judged once but again each time that so many bytes have passed, so that
    one which is kept alive suffers as often as many short ones would.
    """

    seed: int
    share: float
    longest_before_cut_bytes: int
    kinds: tuple[str, ...] = KINDS
    stretch_bytes: float = float("inf")
    target_port: int = 0
    url: str = ""
    suffered: Counter[str] = field(default_factory=Counter)
    passed: int = 0
    _moments: random.Random = field(init=False)
    _sounding: asyncio.Event = field(default_factory=asyncio.Event)
    _taken: asyncio.Event = field(default_factory=asyncio.Event)
    _serving: set[asyncio.Task[None]] = field(default_factory=set)
    _server: asyncio.Server | None = None

    def __post_init__(self) -> None:
        self._moments = random.Random(self.seed)
        self._sounding.set()

    async def listen(self) -> None:
        """Take connections; after `refuse` on the same port again."""
        port = int(self.url.rpartition(":")[2]) if self.url else 0
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def refuse(self) -> None:
        """Break every connection and refuse new ones, as a port does that nobody listens on."""
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def until_taken(self) -> None:
        """Return once there has been a connection."""
        await self._taken.wait()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._taken.set()
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.serve(reader, writer)
        except asyncio.CancelledError:
            _reset(writer)
            raise

    def calm(self) -> None:
        """From now on nothing suffers any more but what suffers already."""
        self.share = 0
        self._sounding.set()

    def fall_silent(self) -> None:
        """Until `calm` nothing passes, of old connections and of new ones, and nobody is told."""
        self._sounding.clear()

    def _fate(self) -> _Fate:
        if self._moments.random() >= self.share:
            self.passed += 1
            return _Fate(None, float("inf"), self.stretch_bytes)
        kind = self._moments.choice(self.kinds)
        self.suffered[kind] += 1
        cut_after = self._moments.randrange(self.longest_before_cut_bytes)
        return _Fate(kind, cut_after if kind in {"cut", "reset"} else float("inf"), self.stretch_bytes)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        fate = self._fate()
        if fate.kind == "black hole":
            await asyncio.sleep(_BLACK_HOLE_SECONDS)
            _reset(writer)
            return
        await self._sounding.wait()
        try:
            theirs = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            _reset(writer)
            return
        await self._carry((reader, writer), theirs, fate)

    async def _carry(self, ours: _Streams, theirs: _Streams, fate: _Fate) -> None:
        broken = asyncio.Event()
        ways = [
            asyncio.create_task(self._pass(ours[0], theirs[1], fate, broken)),
            asyncio.create_task(self._pass(theirs[0], ours[1], fate, broken)),
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
                if broken.is_set() and fate.kind != "cut":
                    _reset(writer)
                else:
                    writer.close()
            await asyncio.gather(both, waiting, return_exceptions=True)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fate: _Fate, broken: asyncio.Event
    ) -> None:
        """One direction, until its sender ends it; a broken one breaks the other too."""
        try:
            while block := await reader.read(_SLOW_BYTES if fate.kind == "slow read" else _BLOCK_BYTES):
                await self._sounding.wait()
                if not await self._pass_block(block, writer, fate):
                    broken.set()
                    return
            writer.write_eof()
        except OSError:
            broken.set()

    async def _pass_block(self, block: bytes, writer: asyncio.StreamWriter, fate: _Fate) -> bool:
        """False = here the connection breaks."""
        if fate.kind == "black hole":
            await asyncio.sleep(_BLACK_HOLE_SECONDS)
            return False
        if fate.kind in {"latency", "slow read"}:
            await asyncio.sleep(_LATENCY_SECONDS)
        allowed = block[: int(min(fate.left_bytes, len(block)))]
        fate.left_bytes -= len(allowed)
        fate.stretch_bytes -= len(allowed)
        writer.write(allowed)
        await writer.drain()
        if len(allowed) < len(block):
            return False
        if fate.stretch_bytes <= 0:
            following = self._fate()
            fate.kind, fate.left_bytes = following.kind, following.left_bytes
            fate.stretch_bytes = following.stretch_bytes
        return True


def _reset(writer: asyncio.StreamWriter) -> None:
    found = writer.get_extra_info("socket")
    with suppress(OSError):  # the other side was quicker
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
    """A proxy on a port of its own; its target may be named later.

    A request of a small build and its answer have some hundred to some thousand bytes: cut within, not behind them.
    """
    proxy = TcpProxy(seed, share, longest_before_cut_bytes, kinds, stretch_bytes)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.refuse()
