"""Receivers of status webhooks: a real HTTP server on loopback that answers as a test wants and records requests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from multidict import CIMultiDict

from tests.support.receivers import Exchange, Receiver, Script


@dataclass(frozen=True)
class Post:
    path: str
    headers: CIMultiDict[str]
    body: bytes


class StatusReceiver:
    """`behave` answers every complete POST; tests may replace it."""

    def __init__(self, behave: Script) -> None:
        self.behave = behave
        self.server = Receiver(self._answer)

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def posts(self) -> list[Post]:
        complete = [exchange for exchange in self.server.exchanges if exchange.ended]
        return [Post(exchange.target, exchange.headers, bytes(exchange.body)) for exchange in complete]

    async def until(self, count: int) -> None:
        await self.server.until(lambda: len(self.posts) >= count)

    async def _answer(self, exchange: Exchange) -> None:
        await exchange.read_all()
        await self.behave(exchange)


def answers(*statuses: int, headers: dict[str, str] | None = None) -> Script:
    """Each status once, then always the last one."""
    left = list(statuses)

    async def answer(exchange: Exchange) -> None:
        await exchange.answer(left.pop(0) if len(left) > 1 else left[0], headers)

    return answer


async def hangs(exchange: Exchange) -> None:
    await exchange.until(lambda: exchange.hung_up)


async def resets(exchange: Exchange) -> None:
    exchange.hang_up(reset=True)


@asynccontextmanager
async def receiving(behave: Script) -> AsyncIterator[StatusReceiver]:
    receiver = StatusReceiver(behave)
    async with receiver.server:
        yield receiver


@asynccontextmanager
async def raw_server(
    raw: bytes, *, then: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None
) -> AsyncIterator[str]:
    """A server that sends these bytes after any request, then does `then` or closes; yields its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(raw)
            await writer.drain()
            if then is not None:
                await then(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # the client may disconnect first
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
