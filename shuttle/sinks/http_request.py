"""One request of the http(s) sink: a chunked POST that is held open while the log grows."""

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
# A request holds one block and the unwritten rest of the last one: 256 KiB, however slow its reader. Half the size is
# about a tenth slower, twice the size a tenth faster; the memory of a thousand sinks matters more.
_BLOCK_BYTES = 128 * 1024
_CONNECT_SECONDS = 15


class LogRequest:
    """Sends the log from `first_offset` to its end, or a piece of at most `piece_bytes` of it, once.

    `is_piece`: a complete request does not mean that the log is complete, and its headers say so. They are sent before
    the body, while the log may still grow. If the log then ends within the piece, an empty request without that header
    follows, which completes the log.

    After `send`, also after a failed one, `sent_offset` is the end of the bytes handed to the kernel, `reported_offset`
    the offset that the receiver last reported (None = none), `answer_offset` the one in its final answer, and `ended`
    says whether the terminating chunk was written. `on_reported` and `on_sent` are awaited with offsets meanwhile.
    """

    def __init__(
        self,
        log: LogReader,
        first_offset: int,
        *,
        piece_bytes: int | None = None,
        timeout_seconds: Callable[[], float],
        on_reported: Callable[[int], Awaitable[None]],
        on_sent: Callable[[int], Awaitable[None]],
    ) -> None:
        self.first_offset = first_offset
        fits = log.complete and piece_bytes is not None and log.size_bytes - first_offset <= piece_bytes
        self.is_piece = piece_bytes is not None and not fits
        self._end_offset = None if piece_bytes is None else first_offset + piece_bytes
        self.sent_offset = first_offset
        self.reported_offset: int | None = None
        self.answer_offset: int | None = None
        self.ended = False
        self._log = log
        self._timeout_seconds = timeout_seconds
        self._on_reported = on_reported
        self._on_sent = on_sent
        self._failure: ShuttleError | None = None
        self._transport: asyncio.Transport | None = None
        self._timer = asyncio.timeout(None)
        self._upload = UploadTracker()

    async def send(self, session: ClientSession, url: URL, headers: CIMultiDict[str]) -> int:
        """Send until the receiver answers, before or after the body's end; returns the status of its answer.

        Raises:
            TimeoutError: the receiver read nothing, or did not answer, for `timeout_seconds`.
            aiohttp.ClientError, ValueError: the connection failed, broke, or the peer does not speak HTTP.
            ShuttleError: the log could not be read, the address is refused, or `on_reported` or `on_sent` raised it.
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
                    middlewares=(self._report_interim_answers,),
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
            if self._transport is not None and _is_open(self._transport):
                # `close` would wait forever for a receiver that reads nothing. It would also end the connection
                # properly, and a receiver might take the bytes so far for the whole body.
                self._transport.abort()

    @property
    def _is_tls(self) -> bool:
        return self._transport is not None and self._transport.get_extra_info("sslcontext") is not None

    def _piece_header(self) -> dict[str, str]:
        return {PIECE_HEADER: "true"} if self.is_piece else {}

    async def _body(self) -> AsyncIterator[bytes]:
        """The chunks. aiohttp writes the terminating one when this returns; when this raises, it closes without one."""
        offset = self.first_offset
        try:
            while block := await self._next_block(offset):
                self._wait_for_receiver()
                yield block
                offset += len(block)
                self._note_sent()
                await self._on_sent(self.sent_offset)
                if self._is_tls:
                    # If the log is in the page cache, nothing else in this loop waits. Then asyncio would report a
                    # broken TLS connection only after the whole log.
                    await asyncio.sleep(0)
        except ShuttleError as error:
            self._failure = error
            raise
        self._wait_for_receiver()
        self.ended = True
        self.sent_offset = offset  # the transport still writes the rest, and nothing follows it

    async def _next_block(self, offset: int) -> bytes:
        """The bytes from `offset`, as soon as there are some; b"" = the log, or the piece, ends there."""
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
        self._timer.reschedule(asyncio.get_running_loop().time() + self._timeout_seconds())

    def _note_sent(self) -> None:
        self.sent_offset = max(self.sent_offset, self.first_offset + self._upload.bytes_written)

    # --- the receiver's answers

    @property
    def wants_more(self) -> bool:
        """Whether the final answer reports an offset before the log's end: the receiver wants the log from there."""
        return self.answer_offset is not None and self.answer_offset < self._log.size_bytes

    async def _report_interim_answers(self, request: ClientRequest, send: ClientHandlerType) -> ClientResponse:
        request.response_class = partial(_ReportingResponse, self)  # type: ignore[assignment]
        return await send(request)

    def connected(self, transport: asyncio.Transport | None) -> None:
        """Keep the connection's transport for an abort, also after aiohttp has closed the connection."""
        self._transport = transport

    async def note_answer(self, headers: CIMultiDictProxy[str]) -> None:
        """Note the offset in an answer, also in an interim (1xx) one."""
        offset = self._offset_in(headers)
        if offset is not None:
            self.reported_offset = offset
            await self._on_reported(offset)

    def _offset_in(self, headers: CIMultiDictProxy[str]) -> int | None:
        """The offset that the headers report; None also for one beyond the log's end, which no receiver can have."""
        text = headers.get(OFFSET_HEADER, "")
        if not (text.isascii() and text.isdigit()) or len(text) > len(str(self._log.size_bytes)):
            return None
        return int(text) if int(text) <= self._log.size_bytes else None


def _is_open(transport: asyncio.Transport) -> bool:
    """Whether the socket is open. After a `close` that has sent all, `abort` raises AttributeError (Python 3.11)."""
    socket = transport.get_extra_info("socket")
    return socket is not None and socket.fileno() >= 0


class _ReportingResponse(ClientResponse):
    """A response that reports its connection, and the interim answers, which aiohttp drops."""

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
            await self._log_request.note_answer(message.headers)
            return message, payload

        protocol.read = read_and_report  # type: ignore[method-assign]
        try:
            return await super().start(connection)
        finally:
            protocol.read = read  # type: ignore[method-assign]
