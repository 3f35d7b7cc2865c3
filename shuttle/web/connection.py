"""One caller's connection with its limits of time and size. Malformed HTTP is answered as JSON as well."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError, LineTooLong

from shuttle.errors import (
    HeadTimeoutError,
    HeadTooLargeError,
    MalformedHttpError,
    ShuttleError,
    TooManyConnectionsError,
    UnavailableError,
)
from shuttle.web.answers import error_answer, error_bytes
from shuttle.web.callers import Callers, peer_name
from shuttle.web.error_forms import ErrorForm, contract_form
from shuttle.web.reader_watch import ReaderWatch

# Request line and headers together. For comparison: nginx accepts 32 KiB, S3 servers 16 KiB.
MAX_HEAD_BYTES = 64 * 1024
# aiohttp's own limits for a head: the length of each line, and the number of headers.
MAX_LINE_BYTES = 8190
MAX_HEADERS = 128
# aiohttp's own limit between two requests would also end a connection while it receives the head of the next one.
_NEVER_SECONDS = 10 * 365 * 86_400
# aiohttp's message is the only way to recognize this error.
_TOO_MANY_HEADERS = "Too many headers"


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """In seconds: to receive a head, between two requests, and for a client that reads nothing of its response."""

    head: float
    idle: float
    reader: float


class Connection(web.RequestHandler):
    """aiohttp's connection with limits.

    It answers and closes if a head is late or too large. It closes without an answer if no request arrives, at first
    or after another one, and if a response is not read.
    """

    __slots__ = (
        "_body",
        "_callers",
        "_error_form",
        "_finished",
        "_head_bytes",
        "_peer",
        "_reader_watch",
        "_times",
        "_wait_timer",
        "_wait_until",
        "_wire",
    )

    def __init__(
        self,
        server: web.Server,
        callers: Callers,
        times: TimeLimits,
        error_form: ErrorForm = contract_form,
        **options: object,
    ) -> None:
        super().__init__(
            server,
            keepalive_timeout=_NEVER_SECONDS,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
            **options,  # type: ignore[arg-type]  # AppRunner's options
        )
        self._callers = callers
        self._times = times
        self._error_form = error_form
        self._peer: str | None = None
        self._wire: asyncio.Transport | None = None
        self._finished = 0
        self._head_bytes = 0
        self._wait_timer: asyncio.TimerHandle | None = None
        self._wait_until: float | None = None
        self._reader_watch: ReaderWatch | None = None
        self._body: StreamReader | None = None

    # --- opening and closing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol: the connection is counted, or refused with 503."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - we serve TCP only
        self._wire = transport
        self._reader_watch = ReaderWatch(transport, self._times.reader, self.drop)
        if self._peer is None:
            peer = peer_name(transport.get_extra_info("peername"))
            if not self._callers.enter(peer):
                self.transport = transport
                error = TooManyConnectionsError("Too many connections are open; close some, or try again later.")
                self._end_with(error)
                return
            self._peer = peer
        super().connection_made(transport)
        self._callers.idle(self, self._peer)
        self._limit_wait(self._times.head)

    def count_for(self, peer: str) -> None:
        """The connection is counted already, because its TLS handshake comes before `connection_made`."""
        self._peer = peer

    def uncount(self) -> None:
        """The handshake has failed, so there will be no `connection_lost`. Idempotent."""
        if self._peer is not None:
            self._callers.leave(self, self._peer)
            self._peer = None

    def connection_lost(self, exc: BaseException | None) -> None:
        """See asyncio.Protocol."""
        self.uncount()
        self._end_wait()
        if self._wait_timer is not None:
            self._wait_timer.cancel()
        if self._reader_watch is not None:
            self._reader_watch.end()
            self._reader_watch = None
        self._wire = None  # asyncio (3.11) may raise AttributeError in `abort` after this
        super().connection_lost(exc)

    def drop(self) -> None:
        """Close it at once and discard what is not sent yet."""
        self.force_close()
        if self._wire is not None:
            self._wire.abort()

    @property
    def waits_for_head(self) -> bool:
        """Whether no request is being received, handled or answered on it."""
        return self._waiter is not None and not self._waiter.done()

    # --- heads

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        known = self._request_count
        ahead = known > self._finished and self._newest_body_is_whole()
        super().data_received(data)
        if ahead:
            self._count_pipelined(len(data))
        elif self._request_count > known:
            self._head_bytes = 0
            self._end_wait()
            if self._peer is not None:
                self._callers.busy(self, self._peer)
        elif data and self.waits_for_head:
            self._count_head(len(data))

    def _count_pipelined(self, size_bytes: int) -> None:
        """Limit what arrives of a next request while the current one is being answered."""
        self._head_bytes += size_bytes
        if self._head_bytes > MAX_HEAD_BYTES:
            self.drop()

    def began(self, body: StreamReader) -> None:
        """A request is about to be handled; `body` is its body."""
        self._body = body

    def _newest_body_is_whole(self) -> bool:
        body = self._messages[-1][1] if self._messages else self._body
        return body is not None and body.is_eof()

    def _count_head(self, size_bytes: int) -> None:
        if self._head_bytes == 0:
            self._limit_wait(self._times.head)
        self._head_bytes += size_bytes
        if self._head_bytes > MAX_HEAD_BYTES:
            self._end_with(head_too_large())

    def _limit_wait(self, seconds: float) -> None:
        """Wait at most `seconds` for the next request, or for the rest of its head.

        A running timer that ends earlier is kept, and is set again when it ends. So most requests set no timer.
        """
        self._wait_until = self._loop.time() + seconds
        if self._wait_timer is not None and self._wait_timer.when() > self._wait_until:
            self._wait_timer.cancel()
            self._wait_timer = None
        if self._wait_timer is None:
            self._wait_timer = self._loop.call_at(self._wait_until, self._check_wait)

    def _end_wait(self) -> None:
        self._wait_until = None

    def _check_wait(self) -> None:
        self._wait_timer = None
        if self._wait_until is None:
            return
        if self._wait_until > self._loop.time():
            self._wait_timer = self._loop.call_at(self._wait_until, self._check_wait)
        else:
            self._wait_is_over()

    def _wait_is_over(self) -> None:
        if not self.waits_for_head:  # the rest of the last request's body is still being read
            self._limit_wait(self._times.idle)
        elif self._head_bytes:
            self._end_with(HeadTimeoutError(f"Send the head of a request within {self._times.head:g} seconds."))
        else:
            self.drop()

    def _end_with(self, error: ShuttleError) -> None:
        """Send the error where aiohttp has no request to answer, and close."""
        if self._wire is not None:
            self._wire.write(error_bytes(error, self._error_form))
        self.force_close()

    # --- responses

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """See RequestHandler: send the rest of the response."""
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._finished += 1
            self._head_bytes = 0
            if self._finished == self._request_count and self._peer is not None:
                self._callers.idle(self, self._peer)
                self._limit_wait(self._times.idle)
            self._watch_reader()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """Answer malformed requests and failures outside of routes as JSON, without quoting the request."""
        self.log_exception("Error handling a request", exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("The response has already begun.")
        answer = error_answer(_error_of(status, exc), self._error_form)
        answer.force_close()
        return answer

    # --- slow readers

    def pause_writing(self) -> None:
        """See asyncio.Protocol: the client reads more slowly than the service writes."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._reader_watch is not None:
            self._reader_watch.resume()
        super().resume_writing()

    def force_close(self) -> None:
        """See RequestHandler: buffered bytes are still sent, unless the client stops reading."""
        super().force_close()
        self._watch_reader()

    def _watch_reader(self) -> None:
        if self._reader_watch is not None:
            self._reader_watch.check_later()


def head_too_large() -> HeadTooLargeError:
    """The error for a request head above the limits."""
    return HeadTooLargeError(
        f"Send a request line and at most {MAX_HEADERS} headers, each of at most {MAX_LINE_BYTES} bytes, and all of at"
        f" most {MAX_HEAD_BYTES} bytes together."
    )


def _error_of(status: int, error: BaseException | None) -> ShuttleError:
    if isinstance(error, LineTooLong) or (isinstance(error, BadHttpMessage) and _TOO_MANY_HEADERS in error.message):
        return MalformedHttpError(head_too_large().message)
    if isinstance(error, HttpProcessingError) or status == HTTPStatus.BAD_REQUEST:
        return MalformedHttpError("Send a request that follows the grammar of HTTP/1.1.")
    if status == HTTPStatus.GATEWAY_TIMEOUT:
        return UnavailableError("The service did not finish this request in time; send it again later.")
    return ShuttleError("The shuttle has a bug here; see its log.")
