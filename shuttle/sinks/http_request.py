"""One request of the http(s) sink: a chunked POST that is held open while the log grows, and what becomes of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Final

from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, ClientSession, ClientTimeout, UploadTracker
from aiohttp.connector import Connection
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from shuttle.errors import ShuttleError
from shuttle.logs import LogReader

OFFSET_HEADER: Final = "Shuttle-Log-Offset"
PIECE_HEADER: Final = "Shuttle-Log-Piece"
# A request holds one block and what the transport has not written of the last one: 256 KiB, however slow its reader.
# Half the size is about a tenth slower, twice the size as much faster: memory for a thousand sinks weighs more.
_BLOCK_BYTES = 128 * 1024
_CONNECT_SECONDS = 15


class LogRequest:
    """Sends the log from `first_offset` to its end, or a piece of at most `piece_bytes` of it, once.

    `is_piece`: the end of this request is not the log's. That is said in its head, so a log that ends within a piece is
    followed by an empty request.

    After `send`, also a broken one: `sent_offset` is where the bytes handed to the kernel end, `told_offset` what the
    receiver last said that it has (None = nothing), `answer_offset` what its final answer said, `ended` whether the
    terminating chunk was written. `on_told` and `on_sent` are awaited with offsets while the request goes on.
    """

    def __init__(
        self,
        log: LogReader,
        first_offset: int,
        *,
        piece_bytes: int | None = None,
        patience_seconds: Callable[[], float],
        on_told: Callable[[int], Awaitable[None]],
        on_sent: Callable[[int], Awaitable[None]],
    ) -> None:
        self.first_offset = first_offset
        fits = log.complete and piece_bytes is not None and log.size_bytes - first_offset <= piece_bytes
        self.is_piece = piece_bytes is not None and not fits
        self._end_offset = None if piece_bytes is None else first_offset + piece_bytes
        self.sent_offset = first_offset
        self.told_offset: int | None = None
        self.answer_offset: int | None = None
        self.ended = False
        self._log = log
        self._patience_seconds = patience_seconds
        self._on_told = on_told
        self._on_sent = on_sent
        self._failure: ShuttleError | None = None
        self._transport: asyncio.Transport | None = None
        self._timer = asyncio.timeout(None)
        self._upload = UploadTracker()

    async def send(self, session: ClientSession, url: URL, headers: CIMultiDict[str]) -> int:
        """Send until the receiver answers, early or after our end; returns the status of its answer.

        Raises:
            TimeoutError: the receiver took nothing, or gave no answer, for the patience.
            aiohttp.ClientError, ValueError: the connection could not be made, broke, or is no HTTP.
            ShuttleError: the log could not be read, the address is refused, or `on_told` or `on_sent` raised it.
        """
        try:
            async with self._timer:
                self._wait_for_receiver()
                async with session.post(
                    url,
                    data=self._body(),
                    headers={**headers, OFFSET_HEADER: str(self.first_offset)} | self._piece_header(),
                    allow_redirects=False,
                    timeout=ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
                    middlewares=(self._listen,),
                    upload_tracker=self._upload,
                ) as answer:
                    self._note_sent()
                    self.answer_offset = self._offset_in(answer.headers)
                    return answer.status
        except Exception:
            if self._failure is not None:
                raise self._failure from None
            raise
        finally:
            self._note_sent()
            if self._transport is not None:
                # `close` would wait for ever for a receiver that reads nothing; and what is left must not be ended.
                self._transport.abort()

    def _piece_header(self) -> dict[str, str]:
        return {PIECE_HEADER: "true"} if self.is_piece else {}

    async def _body(self) -> AsyncIterator[bytes]:
        """The chunks; aiohttp writes the terminating one when this returns, and closes without it when this raises."""
        offset = self.first_offset
        try:
            while block := await self._next_block(offset):
                self._wait_for_receiver()
                yield block
                offset += len(block)
                self._note_sent()
                await self._on_sent(self.sent_offset)
        except ShuttleError as error:
            self._failure = error
            raise
        self._wait_for_receiver()
        self.ended = True
        self.sent_offset = offset  # what the transport has not written yet is under way, and nothing follows it

    async def _next_block(self, offset: int) -> bytes:
        """What follows `offset`, as soon as there is something; b"" = the log, or the piece, is at its end."""
        most_bytes = _BLOCK_BYTES if self._end_offset is None else min(_BLOCK_BYTES, self._end_offset - offset)
        if not most_bytes:
            return b""
        while True:
            block = await self._log.read(offset, most_bytes)
            if block or (self._log.complete and self._log.size_bytes <= offset):
                return block
            self._timer.reschedule(None)
            await self._log.grown_beyond(offset)

    def _wait_for_receiver(self) -> None:
        self._timer.reschedule(asyncio.get_running_loop().time() + self._patience_seconds())

    def _note_sent(self) -> None:
        self.sent_offset = max(self.sent_offset, self.first_offset + self._upload.bytes_written)

    # --- what the receiver says

    async def _listen(self, request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
        request.response_class = partial(_Answer, self)  # type: ignore[assignment]
        return await send(request)

    def connected(self, transport: asyncio.Transport | None) -> None:
        """Remember what an abort has to abort."""
        self._transport = transport

    async def heed(self, headers: CIMultiDictProxy[str]) -> None:
        """Take note of an offset in any answer, also an interim (1xx) one."""
        offset = self._offset_in(headers)
        if offset is not None:
            self.told_offset = offset
            await self._on_told(offset)

    def _offset_in(self, headers: CIMultiDictProxy[str]) -> int | None:
        """None also for an offset that the log has not reached: nobody can have those bytes."""
        text = headers.get(OFFSET_HEADER, "")
        if not (text.isascii() and text.isdigit()) or len(text) > len(str(self._log.size_bytes)):
            return None
        return int(text) if int(text) <= self._log.size_bytes else None


class _Answer(ClientResponse):
    """An answer that reports its interim answers, which aiohttp drops, and the connection before any answer."""

    def __init__(self, request: LogRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._log_request = request

    async def start(self, connection: Connection) -> ClientResponse:
        protocol = connection.protocol
        assert protocol is not None  # noqa: S101 - aiohttp has just written to it
        self._log_request.connected(connection.transport)
        read = protocol.read

        async def read_and_report() -> Any:
            message, payload = await read()
            await self._log_request.heed(message.headers)
            return message, payload

        protocol.read = read_and_report  # type: ignore[method-assign]
        try:
            return await super().start(connection)
        finally:
            protocol.read = read  # type: ignore[method-assign]
