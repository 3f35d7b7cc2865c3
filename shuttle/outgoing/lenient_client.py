"""aiohttp's client for peers that speak HTTP loosely: the limits of a response, and a connector that applies them.

aiohttp offers limits as options, and they are used. It offers no way to accept two equal lengths, a length beside
chunks or a body after 204: its parser raises before the status reaches the caller. So each head and the chunks of a
body are written again in their strict form before the parser sees them (`response_heads`, `response_chunks`).
"""

import os
from functools import partial
from typing import Any, Final, TypedDict

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import _EXC_SENTINEL as _NO_CAUSE

from shuttle.outgoing.response_chunks import BrokenChunksError, ChunkedBody
from shuttle.outgoing.response_heads import (
    MAX_HEADERS,
    MAX_LINE_BYTES,
    Body,
    Head,
    HeadTooLargeError,
    end_of_head,
    is_beyond_limits,
    read_cut_head,
    read_head,
)


class ResponseLimits(TypedDict):
    """aiohttp.ClientSession's names for them."""

    max_line_size: int
    max_field_size: int
    max_headers: int


# Not below what `response_heads` lets through: aiohttp adds a header's name to the name of the one before it.
RESPONSE_LIMITS: Final = ResponseLimits(
    max_line_size=MAX_LINE_BYTES, max_field_size=2 * MAX_LINE_BYTES, max_headers=MAX_HEADERS + 1
)


class ResponseHeadTooLargeError(aiohttp.ClientError):
    """More headers, or longer ones, than anybody needs."""


class BrokenBodyError(aiohttp.ClientPayloadError):
    """The status is known; the body breaks the rules of HTTP, or nobody can say where it ends."""


class LenientConnector(aiohttp.TCPConnector):
    """A connector whose connections understand what curl understands; give its session RESPONSE_LIMITS as well."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Private, and the only place where aiohttp takes another protocol; a test says when it is gone.
        self._factory = partial(LenientResponseHandler, loop=self._loop)  # type: ignore[assignment]


class LenientResponseHandler(ResponseHandler):
    """One connection: aiohttp's parser gets heads and chunks in their strict form, other bodies as they come."""

    _head: bytearray | None = None
    """What has come of a head that is not complete; None = the head is over, or no response is expected."""
    _chunks: ChunkedBody | None = None
    """Of the response that is being received."""
    _ignores_data = False
    """Nothing that still comes is of any use."""

    def set_response_params(self, **params: Any) -> None:
        """A request begins: its response starts with a head."""
        self._head, self._chunks = bytearray(), None
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Collect the head, pass on the rest."""
        if not data:  # aiohttp's own call, to go on with what a paused parser has kept
            super().data_received(data)
            return
        if self._ignores_data:
            return
        if self._head is None:
            self._receive_body(data)
            return
        self.start_timeout()
        scanned = len(self._head)
        self._head += data
        try:
            self._receive_heads(scanned)
        except HeadTooLargeError:
            self._fail(ResponseHeadTooLargeError("The headers are more or longer than allowed."))

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection is over; the response may have come before that."""
        if exc is not None:
            self._read_received()
        if self._head and not self._ignores_data:
            self._take_cut_head(bytes(self._head))
        super().connection_lost(exc)

    def set_exception(self, exc: BaseException, exc_cause: BaseException = _NO_CAUSE) -> None:
        """The response failed, or the request could not be written on."""
        if isinstance(exc, ConnectionError | aiohttp.ClientConnectionError):
            self._read_received()
        super().set_exception(exc, exc_cause)

    def _read_received(self) -> None:
        """A peer that refuses a long request (413) answers and closes: then writing fails before we have read.

        asyncio closes the connection at the failed write; what has come lies in the socket still. Under TLS it would
        have to be decrypted, so there the answer stays lost.
        """
        transport = self.transport
        if self._head is None or self._ignores_data or transport is None or transport.get_extra_info("sslcontext"):
            return
        try:
            received = os.read(transport.get_extra_info("socket").fileno(), MAX_LINE_BYTES)
        except (OSError, ValueError):
            return
        if received:
            self.data_received(received)

    def _take_cut_head(self, received: bytes) -> None:
        """The status line decides, also where the connection ends within the headers."""
        try:
            head = read_cut_head(received)
        except HeadTooLargeError:
            return
        if head is not None and not head.is_interim:
            self._head = None
            self._begin_response(head, b"")

    def _receive_heads(self, scanned: int) -> None:
        """Interim responses, and the final one."""
        while self._head and (end := end_of_head(self._head, scanned)) is not None:
            whole, rest, scanned = bytes(self._head[:end]), bytes(self._head[end:]), 0
            if not whole.strip(b"\r\n"):  # empty lines before a response
                self._head = bytearray(rest)
                continue
            head = read_head(whole)
            if head is not None and head.is_interim:
                self._head = bytearray(rest)
                super().data_received(head.text)
                continue
            self._head = None
            if head is None:
                super().data_received(whole)  # no HTTP: the parser says what it is
            else:
                self._begin_response(head, rest)
        if self._head and not _may_be_http(self._head):
            received, self._head = bytes(self._head), None
            super().data_received(received)
        elif self._head and is_beyond_limits(self._head):
            raise HeadTooLargeError

    def _begin_response(self, head: Head, rest: bytes) -> None:
        """The head in a call of its own: what is wrong behind it cannot take the status back."""
        if head.body in {Body.FORBIDDEN, Body.UNREADABLE}:
            self.force_close()
            self._ignores_data = True
        elif head.body is Body.CHUNKED:
            self._chunks = ChunkedBody()
        super().data_received(head.text)
        if head.body is Body.UNREADABLE:
            self._break_body()
        elif rest and not self._ignores_data:
            self._receive_body(rest)

    def _receive_body(self, data: bytes) -> None:
        payload = self._payload
        if self._parser is not None and payload is not None and payload.is_eof():
            # Bytes behind the response's end would be taken for the answer to the next request.
            self._ignores_data = True
            self._hang_up()
            return
        if self._chunks is not None:
            try:
                data = self._chunks.strict(data)
            except BrokenChunksError:
                self._ignores_data = True
                self._break_body(payload)
                return
        super().data_received(data)
        if self.exception() is not None:
            # aiohttp raises a broken chunk for the reader of the head only; the reader of the body would hang.
            self._break_body(payload)

    def _break_body(self, payload: aiohttp.StreamReader | None = None) -> None:
        payload = payload or self._payload
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(BrokenBodyError("The response's body is broken."))
        self._hang_up()

    def _fail(self, error: aiohttp.ClientError) -> None:
        self._head, self._ignores_data = None, True
        self.set_exception(error)
        self._hang_up()

    def _hang_up(self) -> None:
        self.force_close()
        if self.transport is not None:
            self.transport.close()


def _may_be_http(received: bytearray) -> bool:
    return received.startswith((b"\r", b"\n")) or b"HTTP/".startswith(received[:5])
