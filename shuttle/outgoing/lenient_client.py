"""An aiohttp client that accepts responses which break the rules of HTTP but whose meaning is clear.

The limits of a response are aiohttp's own options. But aiohttp has no option to accept two equal lengths, a length
together with chunks or a body after 204: its parser raises before the caller gets the status. So each head and the
chunks of a body are rewritten in strict form before the parser sees them (`response_heads`, `response_chunks`).
"""

import asyncio
import os
from functools import partial
from typing import Any, Final, TypedDict

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import _EXC_SENTINEL as _NO_CAUSE

from shuttle.outgoing.received_tls import read_before_loss, read_received
from shuttle.outgoing.response_chunks import BrokenChunksError, ChunkedBody
from shuttle.outgoing.response_heads import (
    MAX_HEADERS,
    MAX_LINE_BYTES,
    Body,
    Head,
    HeadTooLargeError,
    end_of_head,
    is_beyond_limits,
    read_head,
    read_truncated_head,
)


class ResponseLimits(TypedDict):
    """The limits as arguments of aiohttp.ClientSession."""

    max_line_size: int
    max_field_size: int
    max_headers: int


# At least the limits of `response_heads`: aiohttp counts a header's name together with the name of the header before.
RESPONSE_LIMITS: Final = ResponseLimits(
    max_line_size=MAX_LINE_BYTES, max_field_size=2 * MAX_LINE_BYTES, max_headers=MAX_HEADERS + 1
)


class ResponseHeadTooLargeError(aiohttp.ClientError):
    """The response has too many headers, or too long ones."""


class BrokenBodyError(aiohttp.ClientPayloadError):
    """The status is known, but the body cannot be read: it breaks the rules of HTTP, or its end is not defined."""


class LenientConnector(aiohttp.TCPConnector):
    """A connector whose connections accept the responses that curl accepts. Its session needs RESPONSE_LIMITS, too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # A private attribute, but aiohttp has no other way to replace the protocol. A test fails when it is gone.
        self._factory = partial(LenientResponseHandler, loop=self._loop)  # type: ignore[assignment]


class LenientResponseHandler(ResponseHandler):
    """One connection: aiohttp's parser gets heads and chunks in strict form, and other bodies unchanged."""

    _head: bytearray | None = None
    """The received part of an incomplete head; None = the head was complete, or no response is expected."""
    _chunks: ChunkedBody | None = None
    """The chunked body that is being received."""
    _ignores_data = False
    """Further received data are discarded."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        super().connection_made(transport)
        read_before_loss(transport)

    def set_response_params(self, **params: Any) -> None:
        """Prepare for the response to a new request."""
        self._head, self._chunks = bytearray(), None
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """Collect the head, then pass the body on."""
        if not data:  # aiohttp resumes a paused parser by this call; the parser has kept data
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
        """The connection is lost; the response may have arrived before that."""
        if exc is not None:
            self._read_received()
        if self._head and not self._ignores_data:
            self._accept_truncated_head(bytes(self._head))
        super().connection_lost(exc)

    def set_exception(self, exc: BaseException, exc_cause: BaseException = _NO_CAUSE) -> None:
        """The response failed, or the rest of the request could not be written."""
        if isinstance(exc, ConnectionError | aiohttp.ClientConnectionError):
            self._read_received()
        super().set_exception(exc, exc_cause)

    def _read_received(self) -> None:
        """Read a response that arrived before a write failed.

        A peer that refuses a long request (413) responds and closes the connection, so that writing may fail before the
        response was read. asyncio then closes the connection, with the response still in the socket's buffer.
        """
        transport = self.transport
        if self._head is None or self._ignores_data or transport is None:
            return
        if transport.get_extra_info("sslcontext"):
            read_received(transport)
            return
        try:
            received = os.read(transport.get_extra_info("socket").fileno(), MAX_LINE_BYTES)
        except (OSError, ValueError):
            return
        if received:
            self.data_received(received)

    def _accept_truncated_head(self, received: bytes) -> None:
        """Report the status even though the connection ended within the headers."""
        try:
            head = read_truncated_head(received)
        except HeadTooLargeError:
            return
        if head is not None and not head.is_interim:
            self._head = None
            self._begin_response(head, b"")

    def _receive_heads(self, scanned: int) -> None:
        """Pass on complete heads: those of interim responses, then the final one."""
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
                super().data_received(whole)  # not HTTP: aiohttp's parser raises
            else:
                self._begin_response(head, rest)
        if self._head and not _may_be_http(self._head):
            received, self._head = bytes(self._head), None
            super().data_received(received)
        elif self._head and is_beyond_limits(self._head):
            raise HeadTooLargeError

    def _begin_response(self, head: Head, rest: bytes) -> None:
        """Pass the head on in a call of its own, so that the status is reported even if the body is invalid."""
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
            # Bytes after the end of the response would be read as the response to the next request.
            self._ignores_data = True
            self._close()
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
            # aiohttp reports an invalid chunk to the reader of the head only; a reader of the body would wait forever.
            self._break_body(payload)

    def _break_body(self, payload: aiohttp.StreamReader | None = None) -> None:
        payload = payload or self._payload
        if payload is not None and not payload.is_eof() and payload.exception() is None:
            payload.set_exception(BrokenBodyError("The response's body is broken."))
        self._close()

    def _fail(self, error: aiohttp.ClientError) -> None:
        self._head, self._ignores_data = None, True
        self.set_exception(error)
        self._close()

    def _close(self) -> None:
        self.force_close()
        if self.transport is not None:
            self.transport.close()


def _may_be_http(received: bytearray) -> bool:
    return received.startswith((b"\r", b"\n")) or b"HTTP/".startswith(received[:5])
