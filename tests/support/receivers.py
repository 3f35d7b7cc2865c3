"""An HTTP server that plays receivers, which may misbehave on demand; it records every request byte by byte.

    async with Receiver() as receiver:                       # responds 200 to every request
        await post(receiver.url)
        exchange = await receiver.exchange(0)                # the first request, when its headers have arrived
        await exchange.until(lambda: exchange.ended)
    Receiver(answering(404), answering(200))                 # the first request gets 404, all others 200

A script is an async function of an `Exchange`. Bytes that it does not read stay in the sockets' buffers.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from multidict import CIMultiDict

Script = Callable[["Exchange"], Awaitable[None]]


class _Changes:
    """Wakes waiting tests: after each `notify`, every `until` evaluates its condition again."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await self._changed.wait()


class Exchange:
    """A request, and methods to respond to it.

    `body` is the received part of the body, without chunk headers. `ended` = the body is complete: its last chunk, or
    all of its Content-Length, was received. `broken` = the connection ended before that.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, changes: _Changes) -> None:
        self.method = ""
        self.target = ""
        self.headers: CIMultiDict[str] = CIMultiDict()
        self.body = bytearray()
        self.chunks = 0
        self.ended = False
        self.broken = False
        self.answered = False
        self.hung_up = False
        self._reader = reader
        self._writer = writer
        self._changes = changes

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until `condition()` is true; it is evaluated after every event at the receiver."""
        await self._changes.until(condition)

    # --- reading

    async def read_head(self) -> bool:
        """Read the request line and headers; False = the client sends no further request."""
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        first, *lines = head.decode("utf-8").rstrip("\r\n").split("\r\n")
        self.method, self.target, _ = first.split(" ")
        for line in lines:
            name, _, value = line.partition(":")
            self.headers.add(name, value.strip())
        if "Transfer-Encoding" not in self.headers and not int(self.headers.get("Content-Length", 0)):
            self.ended = True
        return True

    async def read_chunk(self) -> bytes:
        """The next chunk of the body, or the whole body if it has a Content-Length; b"" at the end or if it was cut."""
        if self.ended or self.broken:
            return b""
        try:
            chunk = await (self._next_chunk() if "Transfer-Encoding" in self.headers else self._whole())
        except (asyncio.IncompleteReadError, ConnectionError):
            self.broken, chunk = True, b""
        self._changes.notify()
        return chunk

    async def _next_chunk(self) -> bytes:
        size = int((await self._reader.readuntil(b"\r\n")).partition(b";")[0], 16)
        chunk = (await self._reader.readexactly(size + 2))[:-2]
        self.body += chunk
        self.chunks += 1 if chunk else 0
        self.ended = not size
        return chunk

    async def _whole(self) -> bytes:
        self.body += await self._reader.readexactly(int(self.headers["Content-Length"]))
        self.ended = True
        return bytes(self.body)

    async def read_at_least(self, size: int) -> None:
        """Read until `body` has at least `size` bytes, or ends."""
        while len(self.body) < size and await self.read_chunk():
            pass

    async def read_all(self) -> None:
        """Read the body to its end, even if it is cut."""
        while await self.read_chunk():
            pass

    async def discard_rest(self) -> None:
        """Read what the client still sends, without adding it to `body`, until the client closes the connection.

        A connection that is closed with unread bytes is reset, and then the client may never read the answer.
        """
        with suppress(ConnectionError):
            while await self._reader.read(65_536):
                pass

    # --- answering

    async def answer(self, status: int = 200, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        """Send the final response."""
        lines = {"Content-Length": str(len(body)), **(headers or {})}
        await self._write(status, lines, body)
        self.answered = True
        self._changes.notify()

    async def interim(self, status: int = 103, headers: dict[str, str] | None = None) -> None:
        """Send an interim response (1xx)."""
        await self._write(status, headers or {}, b"")

    async def _write(self, status: int, headers: dict[str, str], body: bytes) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._writer.write(f"HTTP/1.1 {status} Told\r\n{head}\r\n".encode() + body)
        with suppress(ConnectionError):
            await self._writer.drain()

    def hang_up(self, *, reset: bool = False) -> None:
        """Close the connection, or reset it, which discards unsent and unread data."""
        if reset:
            self._writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self._writer.transport.abort()
        else:
            self._writer.close()
        self.hung_up = True
        self._changes.notify()

    def has_hung_up(self) -> bool:
        """Whether the connection was closed, as a condition for `until`."""
        return self.hung_up


# --- scripts ------------------------------------------------------------------------------------------


def answering(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Script:
    """A script that reads the whole request and responds; no response if the request is cut."""

    async def script(exchange: Exchange) -> None:
        await exchange.read_all()
        if exchange.ended:
            await exchange.answer(status, headers, body)

    return script


def answering_early(status: int, headers: dict[str, str] | None = None, *, after_bytes: int = 0) -> Script:
    """A script that responds after `after_bytes` of the body, and then continues reading."""

    async def script(exchange: Exchange) -> None:
        await exchange.read_at_least(after_bytes)
        await exchange.answer(status, headers)
        await exchange.read_all()

    return script


def resetting(*, after_bytes: int = 0) -> Script:
    """A script that resets the connection after `after_bytes` of the body."""

    async def script(exchange: Exchange) -> None:
        await exchange.read_at_least(after_bytes)
        exchange.hang_up(reset=True)

    return script


async def hanging(exchange: Exchange) -> None:
    """A script that reads nothing and never responds, until the client or the receiver closes."""
    await exchange.until(lambda: exchange.hung_up)


async def silent(exchange: Exchange) -> None:
    """A script that reads the whole request and never responds."""
    await exchange.read_all()
    await exchange.until(lambda: exchange.hung_up)


class Receiver:
    """Listens on 127.0.0.1. The n-th request is handled by the n-th script, further ones by the last script.

    `buffer_bytes` limits how much of an unread body its sockets accept.
    """

    def __init__(self, *scripts: Script, buffer_bytes: int | None = None) -> None:
        self._scripts = scripts or (answering(200),)
        self._buffer_bytes = buffer_bytes
        self._changes = _Changes()
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.exchanges: list[Exchange] = []
        self.port = 0

    @property
    def url(self) -> str:
        """The URL, without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def failure(self) -> BaseException | None:
        """The exception in a script, if there was one."""
        return self._failure

    async def exchange(self, number: int) -> Exchange:
        """Wait for the headers of a request; `number` counts from 0."""
        await self._changes.until(lambda: len(self.exchanges) > number)
        return self.exchanges[number]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until `condition()` is true; it is evaluated after every event at the receiver."""
        await self._changes.until(condition)

    async def __aenter__(self) -> Self:
        self._failure: BaseException | None = None
        self._listening = listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        if self._buffer_bytes is not None:  # accepted sockets inherit the option
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer_bytes)
        self._server = await asyncio.start_server(
            self._accept, sock=listening, limit=self._buffer_bytes or 8 * 1024 * 1024
        )
        self.port = listening.getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # asyncio (3.11) never closes a connection that was accepted just before the server closes. So stop accepting
        # first, and let connections that were accepted in this iteration of the event loop be set up.
        asyncio.get_running_loop().remove_reader(self._listening)
        for _ in range(3):
            await asyncio.sleep(0)
        self._server.close()
        tasks = dict(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in tasks.values():  # a task that was cancelled before its first step has not closed its connection
            writer.transport.abort()
        await self._server.wait_closed()
        await asyncio.gather(*(writer.wait_closed() for writer in tasks.values()), return_exceptions=True)
        if self._failure is not None and error is None:
            raise self._failure

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Called when a connection is set up, so that every open connection is known and can be closed."""
        task = asyncio.create_task(self._connected(reader, writer))
        self._tasks[task] = writer
        task.add_done_callback(self._tasks.pop)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the receiver is closed
        except Exception as error:  # noqa: BLE001 - raised again where the test leaves the receiver
            self._failure = error
        finally:
            writer.transport.abort()
            self._changes.notify()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle the requests of a connection one after another, as long as they are complete and get a response."""
        while True:
            exchange = Exchange(reader, writer, self._changes)
            if not await exchange.read_head():
                return
            self.exchanges.append(exchange)
            self._changes.notify()
            script = self._scripts[min(len(self.exchanges), len(self._scripts)) - 1]
            await script(exchange)
            if exchange.hung_up or not (exchange.ended and exchange.answered):
                return
