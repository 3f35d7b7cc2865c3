"""Logs to http(s) receivers: a request that is held open, and where the next one goes on when it breaks."""

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
from shuttle.outgoing.faults import what_broke
from shuttle.outgoing.hooks import shown_host
from shuttle.outgoing.userinfo import basic_authorization, split_userinfo
from shuttle.sinks import SinkLedger, SinkTarget
from shuttle.sinks.host_recovery import HostRecovery
from shuttle.sinks.http_request import LogRequest

# Answers that will not change by themselves (docs/contract.md, "Logs by http").
_REFUSALS = frozenset({401, 403, 404, 410})
_MAX_METADATA_BYTES = 4096
# A receiver that takes even less is not one for logs, and each piece costs a connection.
_SMALLEST_PIECE_BYTES = 1024
# Twice the first piece for one that refuses before it has taken anything.
_PIECE_BYTES = 256 * 1024
# A proxy takes a request, too, and answers within this that what is behind it is away.
_WELL_AFTER_SECONDS = 1.0
_PRINTABLE_ASCII = "".join(map(chr, range(0x20, 0x7F)))


class HttpUploadFactory:
    """Makes uploads to http(s) receivers (docs/contract.md, "Logs by http"); see `shuttle.sinks.forward.UploadFactory`.

    `session` must have no limit of connections (each log holds one) and no default headers that are secrets.
    """

    def __init__(self, session: ClientSession, *, resume: Literal["acknowledged", "sent"] = "acknowledged") -> None:
        self._session = session
        self._resume_at_sent = resume == "sent"

    def upload(
        self, target: SinkTarget, log: LogReader, ledger: SinkLedger, host_recovery: HostRecovery
    ) -> "HttpUpload":
        """For one log; nothing is opened yet."""
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
        self._well: asyncio.TimerHandle | None = None

    async def attempt(self, patience_seconds: Callable[[], float]) -> bool:
        """One request, or piece after piece, from the first byte that there is to send; whether all is acknowledged."""
        while True:
            is_acknowledged = await self._try_request(patience_seconds)
            if is_acknowledged is not None:
                return is_acknowledged

    async def _try_request(self, patience_seconds: Callable[[], float]) -> bool | None:
        """Whether the whole log is acknowledged by one request; None = the next one can follow at once."""
        await self._log.grown_beyond(self.offset)
        self._is_live = False
        request = LogRequest(
            self._log,
            self.offset,
            piece_bytes=self._piece_bytes,
            patience_seconds=patience_seconds,
            on_told=self._acknowledge,
            on_sent=self._note_sent,
        )
        try:
            status = await self._sent(request)
        except asyncio.CancelledError:
            await self._go_on(request, self._after_break(request))
            raise
        except ShuttleError as error:
            await self._go_on(request, self._after_break(request))
            return await self._failed(f"could not be sent the log: {error.message}")
        except (ClientError, TimeoutError, ValueError) as error:
            await self._go_on(request, self._after_break(request))
            return await self._failed(f"{what_broke(error)}.")
        if 200 <= status < 300:
            return await self._taken(request, status)
        return await self._refused(request, status)

    async def _taken(self, request: LogRequest, status: int) -> bool | None:
        """A 2xx. Before the end of the body it means that the receiver wants the rest in another request."""
        if request.ended:
            self._heard()
        if request.ended and not request.is_piece:
            await self._ledger.done(self._target.sink_id, self._log.size_bytes)
            return True
        self.refusals = 0
        told = request.answer_offset
        await self._go_on(request, request.sent_offset if told is None else told)
        if request.ended and self.offset > request.first_offset:
            return None
        where = "without taking the piece" if request.ended else "before the log's end"
        return await self._failed(f"answered {status} {where}.")

    async def _refused(self, request: LogRequest, status: int) -> bool | None:
        self.refusals += status in _REFUSALS
        await self._go_on(request, self._after_break(request))
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and self._make_pieces_smaller(request):
            await self._failed(f"answered 413; from now on it gets pieces of up to {self._piece_bytes} bytes.")
            self.failures = 0
            return None
        return await self._failed(f"answered {status}.")

    def _make_pieces_smaller(self, request: LogRequest) -> bool:
        """At most half of what was taken; False = there is nothing smaller.

        Without an offset in the answer that is what the kernel took, which is more than what the receiver read: it may
        take some refusals to get below its limit.
        """
        if self._piece_bytes == _SMALLEST_PIECE_BYTES:
            return False
        told = request.answer_offset or 0
        taken_bytes = (told if told > request.first_offset else request.sent_offset) - request.first_offset
        before_bytes = self._piece_bytes or max(taken_bytes, _PIECE_BYTES)
        taken_bytes = min(taken_bytes or before_bytes, before_bytes)
        self._piece_bytes = max(taken_bytes // 2, _SMALLEST_PIECE_BYTES)
        return True

    async def _sent(self, request: LogRequest) -> int:
        try:
            return await request.send(self._session, *_address_and_headers(self._target))
        finally:
            if self._well is not None:
                self._well.cancel()

    def _heard(self) -> None:
        self._host_recovery.succeeded(shown_host(self._target.url))

    def _after_break(self, request: LogRequest) -> int:
        if request.told_offset is not None:
            return request.told_offset
        return request.sent_offset if self._resume_at_sent else request.first_offset

    async def _go_on(self, request: LogRequest, offset: int) -> None:
        self.failures = 0 if offset > request.first_offset else self.failures + 1
        self.offset = offset
        if offset != request.first_offset:
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
            self._well = asyncio.get_running_loop().call_later(_WELL_AFTER_SECONDS, self._heard)
            await self._ledger.live(self._target.sink_id)
        if self._resume_at_sent:
            await self._acknowledge(offset)


def _address_and_headers(target: SinkTarget) -> tuple[URL, CIMultiDict[str]]:
    """The URL without its userinfo, and our headers over those that the caller gave."""
    address, credentials = split_userinfo(target.url)
    headers = CIMultiDict(target.headers)
    if credentials is not None:
        headers.setdefault("Authorization", basic_authorization(credentials))
    # A connection of its own and never used again: one that the receiver is about to close would cost a request.
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
    # As the caller wrote it: requoting would break a signature in the query.
    return URL(address, encoded=address.isascii()), headers


def _ascii(text: str) -> str:
    return quote(text, safe=_PRINTABLE_ASCII)
