"""A proxy before PostgreSQL that holds or loses the answer to a chosen statement, or ends connections.

A statement is recognized by a part of its text: the driver sends each message to the server in one piece, unencrypted.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tests.support.tcp_proxy import Disturbance, TcpProxy, reset

_COMMIT = b"COMMIT"


class PostgresProxy(TcpProxy):
    """`lost_commits` and `ended` are the shares of COMMITs and other messages after which a connection is reset.

    The server has executed a COMMIT whose answer is lost.
    """

    def __init__(self, seed: int, target_port: int) -> None:
        super().__init__(seed, 0, 1, target_port=target_port)
        self.lost_commits = 0.0
        self.ended = 0.0
        self.faults: dict[str, int] = {"commit": 0, "end": 0}
        self.held = asyncio.Event()
        self._hold: bytes | None = None
        self._released = asyncio.Event()

    def url_for(self, database_url: str) -> str:
        """The URL of the database through this proxy."""
        parts = urlsplit(database_url)
        port = self.url.rpartition(":")[2]
        return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}"))

    def hold_answer_to(self, statement: str) -> None:
        """Pass the next such statement on, but not the answer, until `release`; `held` is set once it has arrived."""
        self._hold = statement.encode()
        self.held.clear()
        self._released.clear()

    async def until_held(self, seconds: float = 30) -> None:
        """Wait until the answer has arrived that is held."""
        async with asyncio.timeout(seconds):
            await self.held.wait()

    def release(self) -> None:
        """Pass on what was held."""
        self._released.set()

    async def _carry(self, ours: Any, theirs: Any, disturbance: Disturbance) -> None:
        try:
            async with asyncio.TaskGroup() as ways:
                answers = asyncio.Queue[str]()
                ways.create_task(self._requests(ours[0], theirs[1], answers))
                ways.create_task(self._answers(theirs[0], ours[1], answers))
        except* (OSError, _EndedError):
            pass
        finally:
            for writer in (ours[1], theirs[1]):
                reset(writer)

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: asyncio.Queue[str]
    ) -> None:
        while block := await reader.read(1 << 16):
            await self._passing.wait()
            if self._hold is not None and self._hold in block:
                self._hold = None
                answers.put_nowait("hold")
            elif _COMMIT in block and self._random.random() < self.lost_commits:
                self.faults["commit"] += 1
                answers.put_nowait("lose")
            elif self._random.random() < self.ended:
                self.faults["end"] += 1
                raise _EndedError
            writer.write(block)
            await writer.drain()
        raise _EndedError

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: asyncio.Queue[str]
    ) -> None:
        while block := await reader.read(1 << 16):
            await self._passing.wait()
            what = "" if answers.empty() else answers.get_nowait()
            if what == "lose":
                raise _EndedError
            if what == "hold":
                self.held.set()
                await self._released.wait()
            writer.write(block)
            await writer.drain()
        raise _EndedError


class _EndedError(Exception):
    """One side has ended the connection, or a fault does."""


@asynccontextmanager
async def postgres_proxy(seed: int, target_port: int) -> AsyncIterator[PostgresProxy]:
    """A proxy on its own port before the server at `target_port`."""
    proxy = PostgresProxy(seed, target_port)
    await proxy.listen()
    try:
        yield proxy
    finally:
        proxy.release()
        await proxy.refuse()
