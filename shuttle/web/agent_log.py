"""`POST …/log`: a supervisor pushes raw bytes of a stream. The response has the next offset, a pause and any stop."""

import re
from collections.abc import AsyncIterator

from aiohttp import web

from shuttle.build import StopCause
from shuttle.errors import (
    BodyTooLargeError,
    ConflictError,
    GoneError,
    InvalidRequestError,
    NotOwnerError,
    ObjectStoreError,
    StoreError,
    UnauthorizedError,
    UnavailableError,
)
from shuttle.lifecycle import Services
from shuttle.lifecycle.agent_calls import ALERT_SECONDS, SILENT_SECONDS
from shuttle.lifecycle.build_log import OVER, BuildLog
from shuttle.logs.spool import SpoolError
from shuttle.store.claims import Claim, end_claim
from shuttle.web import SERVICES
from shuttle.web.agent_auth import SUPERSEDED, claim_of_run_token
from shuttle.web.answers import json_answer
from shuttle.web.body import chunks_of, refuse_encoded
from shuttle.web.description import BYTES_ERRORS, Parameter, describe
from shuttle.web.models import Ok

_MAX_PUSH_BYTES = 4 * 1024 * 1024
# How much is transformed at once, so that other requests of the event loop are not delayed.
_BLOCK_BYTES = 256 * 1024
_STREAM = re.compile(r"[a-z0-9._-]{1,64}")
_OFFSET = re.compile(r"[0-9]{1,15}")
_EXIT = re.compile(r"[0-9]{1,3}")


@describe(
    Ok,
    headers=("Shuttle-Log-Offset", "Shuttle-Log-Pause", "Shuttle-Log-Idle", "Shuttle-Stop"),
    body="application/octet-stream",
    errors=(
        *BYTES_ERRORS,
        UnauthorizedError,
        ConflictError,
        GoneError,
        SpoolError,
        UnavailableError,
        StoreError,
        NotOwnerError,
        ObjectStoreError,
    ),
    parameters=(
        Parameter("stream", {"type": "string", "pattern": f"^{_STREAM.pattern}$"}, "The stream's name.", required=True),
        Parameter(
            "offset",
            {"type": "string", "pattern": f"^{_OFFSET.pattern}$"},
            "The offset of the first byte.",
            required=True,
        ),
        Parameter("end", {"const": "1"}, "These are the stream's last bytes."),
        Parameter("exit", {"type": "string", "pattern": f"^{_EXIT.pattern}$"}, "The exit status; only with `end`."),
    ),
)
async def post_log(request: web.Request) -> web.StreamResponse:
    """`POST …/log?stream=S&offset=N[&end=1&exit=N]`.

    200 has the wanted offset, the pause before the next call and the cause of a stop, if there is one. 409 means one of
    three things. N is beyond the wanted offset; or the bytes of a call with `end` do not reach it; or the build has too
    many streams. In the first two cases the answer has the wanted offset. 410 means that a newer attempt replaced this
    one. A call with `end` is answered once all bytes are durable, or with 503 while a lost log is being written again
    or the object store is unavailable.
    """
    services = request.app[SERVICES]
    claim = await claim_of_run_token(request)
    stream, offset, exit_status = _read_query(request)
    try:
        log = await services.logs.open(claim.build_uuid)
    except SpoolError:
        # The build's own task gets the same error and stops the build.
        services.signals.wake(claim.build_uuid)
        return await _discard(request, offset, StopCause.SPOOL_UNWRITABLE)
    if log is None:
        return await _discard(request, offset, OVER)
    received = 0
    wanted = log.wanted(claim, stream)
    async for block in _blocks(request):
        if log.superseded(claim):
            raise GoneError(SUPERSEDED)
        wanted = log.take(claim, stream, offset + received, block)
        received += len(block)
    if offset > wanted:
        raise ConflictError(
            f"The stream's next offset is {wanted}: send from there.",
            headers={"Shuttle-Log-Offset": str(wanted)},
        )
    if "end" in request.query and offset + received < wanted:
        raise ConflictError(
            f"The stream already has {wanted} bytes: send its end at that offset.",
            headers={"Shuttle-Log-Offset": str(wanted)},
        )
    await log.wait_for_room()
    if log.lost:
        raise NotOwnerError
    answer = _answer(log, claim, wanted, max(wanted - offset, 0), services)
    if "end" in request.query and wanted == offset + received:
        await _end(log, claim, stream, exit_status, services)
    return answer


async def _end(log: BuildLog, claim: Claim, stream: str, exit_status: int | None, services: Services) -> None:
    await log.end_stream(claim, stream)
    if exit_status is not None:
        await services.database.run(end_claim, claim, exit_status)
        await services.logs.reload_claims(claim.build_uuid)
        services.calls.remove(claim.build_uuid, claim.claim_id)


def _answer(log: BuildLog, claim: Claim, wanted: int, received: int, services: Services) -> web.Response:
    pause = services.calls.pause_seconds(claim.build_uuid, claim.claim_id, received)
    seconds_left = SILENT_SECONDS * 2
    if log.time_limit_at is not None:
        seconds_left = (log.time_limit_at - services.clock.steady()).total_seconds()
    alert = log.stop_cause is not None or seconds_left < SILENT_SECONDS
    headers = {
        "Shuttle-Log-Offset": str(wanted),
        "Shuttle-Log-Pause": f"{pause:.3f}",
        "Shuttle-Log-Idle": f"{ALERT_SECONDS if alert else SILENT_SECONDS:.0f}",
    }
    if log.stop_cause is not None:
        headers["Shuttle-Stop"] = log.stop_cause
    return json_answer(Ok(), headers=headers)


async def _discard(request: web.Request, offset: int, cause: str) -> web.Response:
    """Discard the body, but acknowledge it, so that it is not sent again; the header Shuttle-Stop has the cause."""
    received = 0
    async for block in _blocks(request):
        received += len(block)
    headers = {"Shuttle-Log-Offset": str(offset + received), "Shuttle-Log-Pause": "0", "Shuttle-Stop": cause}
    return json_answer(Ok(), headers=headers)


def _read_query(request: web.Request) -> tuple[str, int, int | None]:
    query = request.query
    stream, offset, exit_status = query.get("stream", ""), query.get("offset", ""), query.get("exit")
    if not _STREAM.fullmatch(stream):
        raise InvalidRequestError("Name the stream with 1 to 64 of a-z, 0-9, dot, dash and underscore.", field="stream")
    if not _OFFSET.fullmatch(offset):
        raise InvalidRequestError("Write the offset of the first byte as a whole number, 0 or more.", field="offset")
    if query.get("end", "1") != "1":
        raise InvalidRequestError("Write end=1, or leave it out.", field="end")
    if exit_status is not None and not (_EXIT.fullmatch(exit_status) and int(exit_status) <= 255 and "end" in query):
        raise InvalidRequestError("Write an exit status from 0 to 255, together with end=1.", field="exit")
    return stream, int(offset), None if exit_status is None else int(exit_status)


async def _blocks(request: web.Request) -> AsyncIterator[bytes]:
    """The body in blocks of about 256 KiB, one in memory at a time; raises BodyTooLargeError above 4 MiB."""
    refuse_encoded(request)
    too_large = BodyTooLargeError(f"Send at most {_MAX_PUSH_BYTES} bytes in one call.")
    if request.content_length is not None and request.content_length > _MAX_PUSH_BYTES:
        raise too_large
    chunks, size, received = list[bytes](), 0, 0
    async for chunk in chunks_of(request):
        chunks.append(chunk)
        size += len(chunk)
        received += len(chunk)
        if received > _MAX_PUSH_BYTES:
            raise too_large
        if size >= _BLOCK_BYTES:
            yield b"".join(chunks)
            chunks.clear()
            size = 0
    if chunks:
        yield b"".join(chunks)
