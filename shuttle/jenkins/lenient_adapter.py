"""Lets python-jenkins (requests, urllib3, http.client) read the malformed answers that proxies of Jenkins really send.

http.client accepts at most 100 headers, stops reading them at a space before a colon, and waits for the connection's
end if Content-Length is a list. urllib3 misreads a chunk that ends in a bare line feed. They have no options for that,
so heads and chunks are rewritten to their strict form, as for aiohttp.
"""

import http.client
import io
import ssl
from typing import Any, BinaryIO, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from shuttle.outgoing.response_chunks import BrokenChunksError, ChunkedBody
from shuttle.outgoing.response_heads import (
    MAX_LINE_BYTES,
    Body,
    Head,
    HeadTooLargeError,
    is_beyond_limits,
    read_head,
)

# The headers that jobs.py, python-jenkins and http.client read. Others would only count against http.client's 100.
_READ_HEADERS: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"content-type",
        b"location",
        b"set-cookie",
        b"transfer-encoding",
        b"x-error",
        b"x-jenkins",
        b"x-required-permission",
    }
)
_MAX_HEADERS = 90
# Below http.client's own limit, which includes the line end.
_MAX_FIELD_BYTES = 60_000


class LenientAdapter(HTTPAdapter):
    """Connections that accept malformed heads and use the given TLS context."""

    def __init__(self, ssl_context: ssl.SSLContext | None = None) -> None:
        self._ssl_context = ssl_context
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        """Called by HTTPAdapter's constructor."""
        if self._ssl_context is not None:
            named["ssl_context"] = self._ssl_context
        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}

    def send(self, request: requests.PreparedRequest, *arguments: Any, **named: Any) -> requests.Response:
        """Send once; if only the body is broken, the response has its status and no body."""
        response = super().send(request, *arguments, **named)
        try:
            response.content  # noqa: B018 - read here, where the status is still known
        except requests.RequestException:
            response.close()
            response.raw = io.BytesIO()
        return response


class _Response(http.client.HTTPResponse):
    """A response whose head is read leniently."""

    def begin(self) -> None:
        """Read the head; http.client calls it once."""
        connection = self.fp
        self.fp = io.BufferedReader(io.BytesIO(_strict_head(connection)))
        try:
            super().begin()
        finally:
            self.fp = connection
        if self.chunked:
            self.fp = io.BufferedReader(_StrictChunks(connection))
        # No connection is reused: a change that is sent over one that Jenkins is about to close would be lost.
        self.will_close = True


class _StrictChunks(io.RawIOBase):
    """A chunked body in its strict form; it ends at the end of the body or of the connection."""

    def __init__(self, connection: io.BufferedReader) -> None:
        self._connection = connection
        self._chunks = ChunkedBody()
        self._strict = b""

    def readable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def readinto(self, buffer: Any) -> int:
        """See io.RawIOBase."""
        while not self._strict and not self._chunks.is_over:
            received = self._connection.read1(MAX_LINE_BYTES)
            if not received:
                break
            try:
                self._strict = self._chunks.strict(received)
            except BrokenChunksError:
                raise http.client.HTTPException("The response's body is broken.") from None
        given, self._strict = self._strict[: len(buffer)], self._strict[len(buffer) :]
        buffer[: len(given)] = given
        return len(given)

    def close(self) -> None:
        """See io.RawIOBase."""
        self._connection.close()
        super().close()


def _strict_head(connection: BinaryIO) -> bytes:
    """The head of the final response in a form that http.client accepts; unchanged if it is not HTTP."""
    while True:
        received = _received_head(connection)
        try:
            head = read_head(received) if received.endswith((b"\n\n", b"\n\r\n")) else None
        except HeadTooLargeError:
            raise http.client.HTTPException("The headers are more or longer than allowed.") from None
        if head is None:
            return received
        if not head.is_interim:
            return _shortened(head)


def _received_head(connection: BinaryIO) -> bytes:
    """The lines up to the empty one, or up to the connection's end or the limits."""
    received = bytearray()
    while not is_beyond_limits(received):
        line = connection.readline(MAX_LINE_BYTES + 3)
        if line in (b"\r\n", b"\n") and not received:
            continue
        received += line
        if line in (b"", b"\r\n", b"\n"):
            break
    return bytes(received)


def _shortened(head: Head) -> bytes:
    first_line, *lines = head.text.rstrip(b"\r\n").split(b"\r\n")
    left_out = frozenset({b"transfer-encoding"}) if head.body is Body.UNREADABLE else frozenset()
    kept = [line for line in lines if _name_of(line) in _READ_HEADERS - left_out and len(line) <= _MAX_FIELD_BYTES]
    if head.body in {Body.FORBIDDEN, Body.UNREADABLE}:
        kept += [b"Content-Length: 0", b"Connection: close"]
    # The headers that frame the body come last, so that they are kept.
    return b"\r\n".join([first_line[:_MAX_FIELD_BYTES], *kept[-_MAX_HEADERS:], b"", b""])


def _name_of(line: bytes) -> bytes:
    return line.partition(b":")[0].lower()


class _PlainConnection(HTTPConnection):
    response_class = _Response


class _TlsConnection(HTTPSConnection):
    response_class = _Response


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
