"""Sends logs to http(s) receivers: one long request, and another from the right offset when it breaks."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Literal
from urllib.parse import quote

from aiohttp import ClientError, ClientSession
from multidict import CIMultiDict
from yarl import URL

from shuttle.errors import ShuttleError
from shuttle.logs import LogReader
from shuttle.outgoing.faults import describe_fault
from shuttle.outgoing.hooks import shown_host
from shuttle.outgoing.urls import as_written
from shuttle.outgoing.userinfo import basic_authorization, split_userinfo
from shuttle.sinks import SinkLedger, SinkTarget
from shuttle.sinks.host_recovery import HostRecovery
from shuttle.sinks.http_request import LogRequest

# Statuses that do not change by themselves (docs/contract.md, "Logs by http").
_REFUSALS = frozenset({401, 403, 404, 410})
# A proxy answers these, too, if it cuts a request that it has passed on: it was silent, or the receiver has broken off.
_CUTS = frozenset({408, 500, 502, 504})
_MAX_METADATA_BYTES = 4096
# A receiver with a lower limit is unfit for logs, and each piece costs a connection.
_SMALLEST_PIECE_BYTES = 1024
# If the receiver refuses before it has read anything, the first piece has half of this.
_PIECE_BYTES = 256 * 1024
# A proxy whose upstream is down accepts the request, too, but answers with an error within this time.
_SUCCESS_AFTER_SECONDS = 1.0
_PRINTABLE_ASCII = "".join(map(chr, range(0x20, 0x7F)))


class HttpUploadFactory:
    """Makes uploads to http(s) receivers (docs/contract.md, "Logs by http"); see `shuttle.sinks.forward.UploadFactory`.

    `session` must have no limit of connections, because each log holds one, and no secrets in its default headers.
    `resume` is SHUTTLE_LOG_RESUME: after a broken request whose receiver reported no offset, the log is sent again from
    the beginning of that request (`acknowledged`), or continued after the last byte sent (`sent`). A request that was
    refused is sent again in either case.
    """

    def __init__(self, session: ClientSession, *, resume: Literal["acknowledged", "sent"] = "acknowledged") -> None:
        self._session = session
        self._resume_at_sent = resume == "sent"

    def upload(
        self, target: SinkTarget, log: LogReader, ledger: SinkLedger, host_recovery: HostRecovery
    ) -> "HttpUpload":
        """Make the upload of one log; it opens no connection yet."""
        return HttpUpload(self._session, target, log, ledger, host_recovery, resume_at_sent=self._resume_at_sent)


class HttpUpload:
    """See `shuttle.sinks.forward.LogUpload`."""

    def __init__(
        self,
        session: ClientSession,
        target: SinkTarget,
        log: LogReader,
        ledger: SinkLedger,
        host_recovery: HostRecovery,
        *,
        resume_at_sent: bool,
    ) -> None:
        self.offset = target.acked_offset
        self.problem = ""
        self.refusals = 0
        self.failures = 0
        self._session = session
        self._target = target
        self._log = log
        self._ledger = ledger
        self._host_recovery = host_recovery
        self._resume_at_sent = resume_at_sent
        self._piece_bytes: int | None = None
        self._is_live = False
        self._was_taken = False
        self._success_timer: asyncio.TimerHandle | None = None

    async def attempt(self, timeout_seconds: Callable[[], float]) -> bool:
        """Send one request, or one for each piece; returns whether the whole log is acknowledged."""
        while True:
            is_acknowledged = await self._try_request(timeout_seconds)
            if is_acknowledged is not None:
                return is_acknowledged

    async def _try_request(self, timeout_seconds: Callable[[], float]) -> bool | None:
        """Send one request; returns whether the whole log is acknowledged, None = the next one can follow at once."""
        await self._log.grown_beyond(self.offset)
        self._is_live = self._was_taken = False
        request = LogRequest(
            self._log,
            self.offset,
            piece_bytes=self._piece_bytes,
            timeout_seconds=timeout_seconds,
            on_reported=self._acknowledge,
            on_sent=self._note_sent,
        )
        try:
            status = await self._send(request)
        except asyncio.CancelledError:
            await self._resume_at(request, self._offset_after_break(request))
            raise
        except ShuttleError as error:
            await self._resume_at(request, self._offset_after_break(request))
            return await self._failed(f"did not get the log: {error.message}")
        except (ClientError, TimeoutError, ValueError) as error:
            await self._resume_at(request, self._offset_after_break(request))
            return await self._failed(f"{describe_fault(error)}.")
        if 200 <= status < 300:
            return await self._accepted(request, status)
        return await self._refused(request, status)

    async def _accepted(self, request: LogRequest, status: int) -> bool | None:
        """Handle a 2xx. If it came before the end of the body, the receiver wants the rest in another request."""
        if request.ended:
            self._report_success()
        if request.ended and not request.is_piece and not request.wants_more:
            await self._ledger.done(self._target.sink_id, self._log.size_bytes)
            return True
        self.refusals = 0
        reported = request.answer_offset
        await self._resume_at(request, request.sent_offset if reported is None else reported)
        if request.ended and self.offset > request.first_offset:
            return None
        detail = "without acknowledging any byte of the request" if request.ended else "before the log's end"
        return await self._failed(f"answered {status} {detail}.")

    async def _refused(self, request: LogRequest, status: int) -> bool | None:
        await self._resume_at(request, self._offset_after_error(request, status))
        self.refusals += status in _REFUSALS
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and self._make_pieces_smaller(request):
            await self._failed(f"answered 413; it gets pieces of up to {self._piece_bytes} bytes from now on.")
            self.failures = 0
            return None
        return await self._failed(f"answered {status}.")

    def _make_pieces_smaller(self, request: LogRequest) -> bool:
        """Halve the piece, or the bytes that the receiver took if these are fewer. False = it is the smallest already.

        Without an offset in the answer, the bytes that the kernel took count. The receiver has read fewer bytes, so
        several refusals may follow until a piece is below its limit.
        """
        if self._piece_bytes == _SMALLEST_PIECE_BYTES:
            return False
        reported = request.answer_offset or 0
        taken_bytes = (reported if reported > request.first_offset else request.sent_offset) - request.first_offset
        before_bytes = self._piece_bytes or max(taken_bytes, _PIECE_BYTES)
        taken_bytes = min(taken_bytes or before_bytes, before_bytes)
        self._piece_bytes = max(taken_bytes // 2, _SMALLEST_PIECE_BYTES)
        return True

    async def _send(self, request: LogRequest) -> int:
        try:
            return await request.send(self._session, *_address_and_headers(self._target))
        finally:
            if self._success_timer is not None:
                self._success_timer.cancel()

    def _report_success(self) -> None:
        self._was_taken = True
        self._host_recovery.succeeded(shown_host(self._target.url))

    def _offset_after_break(self, request: LogRequest) -> int:
        if request.reported_offset is not None:
            return request.reported_offset
        return request.sent_offset if self._resume_at_sent else request.first_offset

    def _offset_after_error(self, request: LogRequest, status: int) -> int:
        """Where to continue after an answer that is not 2xx: the bytes in the kernel and in proxies may be lost.

        With SHUTTLE_LOG_RESUME=sent, a cut request counts as broken. But if a complete request is answered by an error,
        or an incomplete one at once, or with another status, then nobody took these bytes.
        """
        was_cut = status in _CUTS and self._was_taken and not request.ended
        if was_cut or request.reported_offset is not None:
            return self._offset_after_break(request)
        return request.first_offset

    async def _resume_at(self, request: LogRequest, offset: int) -> None:
        if offset > request.first_offset:
            self.failures, self.refusals = 0, 0
        else:
            self.failures += 1
        self.offset = offset
        if offset != request.first_offset or self._resume_at_sent:  # then `_note_sent` has acknowledged a higher one
            await self._acknowledge(offset)

    async def _failed(self, problem: str) -> bool:
        self.problem = f"{shown_host(self._target.url)} {problem}"
        await self._ledger.failing(self._target.sink_id, self.problem)
        return False

    async def _acknowledge(self, offset: int) -> None:
        await self._ledger.acknowledged(self._target.sink_id, offset)

    async def _note_sent(self, offset: int) -> None:
        if not self._is_live:
            self._is_live = True
            self._success_timer = asyncio.get_running_loop().call_later(_SUCCESS_AFTER_SECONDS, self._report_success)
            await self._ledger.live(self._target.sink_id)
        if self._resume_at_sent:
            await self._acknowledge(offset)


def _address_and_headers(target: SinkTarget) -> tuple[URL, CIMultiDict[str]]:
    """The URL without its userinfo, and the headers; our own replace the caller's."""
    address, credentials = split_userinfo(target.url)
    headers = CIMultiDict(target.headers)
    if credentials is not None:
        headers.setdefault("Authorization", basic_authorization(credentials))
    # Each request has a connection of its own: a kept one that the receiver is about to close would cost a request.
    headers["Connection"] = "close"
    headers["Content-Type"] = "text/plain; charset=utf-8"
    headers["Shuttle-App-Id"] = _ascii(target.app_id)
    headers["Shuttle-Build-Id"] = _ascii(target.build_id)
    headers["Shuttle-Build-Uuid"] = target.build_uuid
    metadata = target.metadata_json or "null"
    if len(metadata) <= _MAX_METADATA_BYTES:
        headers["Shuttle-Metadata"] = metadata
    else:
        headers["Shuttle-Metadata-Omitted"] = "true"
    return as_written(address), headers


def _ascii(text: str) -> str:
    return quote(text, safe=_PRINTABLE_ASCII)
