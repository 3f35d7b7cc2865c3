"""The log over HTTP: from any offset, as a range once it is complete, or followed while it grows."""

import re
from asyncio import timeout
from contextlib import suppress

from aiohttp import web

from shuttle.build import Api
from shuttle.errors import (
    InvalidRequestError,
    NotFoundError,
    NotOwnerError,
    ObjectNotFoundError,
    RangeNotSatisfiableError,
)
from shuttle.lifecycle.replica_log import open_reader
from shuttle.logs import LogReader
from shuttle.logs.spool import SpoolError
from shuttle.store.request_time import end_limit
from shuttle.web import SERVICES, STREAMING
from shuttle.web.description import OBJECT_ERRORS, Parameter, Reply, describe
from shuttle.web.legacy_logs import check_kept, old_shuttles_log, send_as_json, wants_json
from shuttle.web.legacy_models import LegacyLog
from shuttle.web.names import named_build
from shuttle.web.stages import NOT_REPORTED, StageReader, stage_reader

# A reader that has stopped reading holds one block in memory.
_BLOCK_BYTES = 64 * 1024
# A disconnected reader is noticed when a block is written to it, and if the log does not grow, this often.
_DISCONNECT_CHECK_SECONDS = 30.0
_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)", re.IGNORECASE)
# No log's size has more than 18 digits; int() raises for more than 4,300.
_MAX_DIGITS = 18


_LOG_HEADERS = ("Shuttle-Log-Offset", "Shuttle-Log-Complete", "Accept-Ranges")


@describe(
    "text/plain",
    LegacyLog,
    headers=_LOG_HEADERS,
    replies={206: Reply(("text/plain",), (*_LOG_HEADERS, "Content-Range"))},
    errors=(InvalidRequestError, NotFoundError, RangeNotSatisfiableError, SpoolError, NotOwnerError, *OBJECT_ERRORS),
    parameters=(
        Parameter("offset", {"type": "string", "pattern": "^[0-9]+$"}, "The offset of the first byte to return."),
        Parameter("follow", {"type": "string"}, "`true` or `1`: wait for more until the log is complete."),
        Parameter("stage", {"type": "string"}, "Only the part of the log that belongs to this stage."),
        Parameter("branch", {"type": "string"}, "The branch of the stage; without it, a stage of the main step."),
        Parameter("Range", {"type": "string"}, "One range of bytes; for complete logs only.", location="header"),
    ),
)
async def get_logs(request: web.Request) -> web.StreamResponse:
    """`GET /:app_id/:build_id/logs` (docs/contract.md, "Reading the log")."""
    build = None
    try:
        build = await named_build(request)
        reader, api = await open_reader(build, request.app[SERVICES]), build.api
    except NotFoundError:
        reader, api = await old_shuttles_log(request), Api.LEGACY
    await check_kept(reader)
    follow = request.query.get("follow", "").lower() in {"true", "1"}
    of_stage = "stage" in request.query or "branch" in request.query
    if of_stage:
        reader = stage = await stage_reader(request, build, reader)
        if follow and request.method != "HEAD":
            await wait_for_begin(request, stage)
        first, end, partial = _wanted_of_stage(request, stage)
    elif api is Api.LEGACY and wants_json(request):
        return await send_as_json(request, reader)
    else:
        first, end, partial = _wanted(request, reader)
    return await send_log(request, reader, first, end, follow=follow, partial=partial, takes_ranges=not of_stage)


async def send_log(
    request: web.Request,
    reader: LogReader,
    first: int,
    end: int,
    *,
    follow: bool,
    partial: bool = False,
    takes_ranges: bool = False,
) -> web.StreamResponse:
    """Send the bytes from `first` to `end`; with `follow` those that come later, too, until the log is complete."""
    complete = reader.complete
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Shuttle-Log-Offset": str(first),
        "Shuttle-Log-Complete": "true" if complete else "false",
    }
    status = 200
    if complete:
        if takes_ranges:
            headers["Accept-Ranges"] = "bytes"
        headers["Content-Length"] = str(end - first)
        if partial:
            status = 206
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{reader.size_bytes}"
    response = web.StreamResponse(status=status, headers=headers)
    if not complete and request.version < (1, 1):
        response.force_close()
    # Read before the headers are sent, so that an unreachable archive can still be answered as an error.
    block = b"" if request.method == "HEAD" else await _first_block(reader, first, end)
    request[STREAMING] = True
    await response.prepare(request)
    if request.method != "HEAD":
        await response.write(block)
        await _send(request, response, reader, first + len(block), None if follow and not complete else end)
    await response.write_eof()
    return response


async def _first_block(reader: LogReader, first: int, end: int) -> bytes:
    try:
        return await reader.read(first, min(_BLOCK_BYTES, end - first))
    except ObjectNotFoundError:
        raise NotFoundError("The log of this build is no longer kept (SHUTTLE_KEEP_LOGS_DAYS).") from None


async def _send(
    request: web.Request, response: web.StreamResponse, reader: LogReader, first: int, end: int | None
) -> None:
    """Write from `first` to `end`; if `end` is None, follow the log to its end."""
    offset = first
    while end is None or offset < end:
        limit = _BLOCK_BYTES if end is None else min(_BLOCK_BYTES, end - offset)
        block = await reader.read(offset, limit)
        if block:
            await response.write(block)
            offset += len(block)
        elif end is not None or (reader.complete and offset >= reader.size_bytes):
            return
        else:
            with suppress(TimeoutError):
                async with timeout(_DISCONNECT_CHECK_SECONDS):
                    await reader.grown_beyond(offset)
            raise_if_disconnected(request)


def _wanted(request: web.Request, reader: LogReader) -> tuple[int, int, bool]:
    """First and end offset of the requested bytes, and whether they are a range of RFC 9110 (206)."""
    size_bytes = reader.size_bytes
    if "offset" in request.query:
        text = request.query["offset"]
        if not (text.isascii() and text.isdigit()):
            raise InvalidRequestError("Write offset as a whole number of bytes, 0 or more.", field="offset")
        offset = _bytes(text)
        if offset > size_bytes and reader.complete:
            raise _beyond(size_bytes, field="offset")
        return min(offset, size_bytes), size_bytes, False
    if reader.complete and "Range" in request.headers:
        found = _range(request.headers["Range"], size_bytes)
        if found is not None:
            return *found, True
    return 0, size_bytes, False


async def wait_for_begin(request: web.Request, stage: StageReader) -> None:
    """Return as soon as it is known where the stage begins, or its log is complete."""
    end_limit()
    while stage.start is None and not stage.complete:
        with suppress(TimeoutError):
            async with timeout(_DISCONNECT_CHECK_SECONDS):
                await stage.begun()
        raise_if_disconnected(request)


def raise_if_disconnected(request: web.Request) -> None:
    """Raises ConnectionResetError, which ends the handler."""
    if request.transport is None or request.transport.is_closing():
        raise ConnectionResetError("the client has disconnected")


def _wanted_of_stage(request: web.Request, stage: StageReader) -> tuple[int, int, bool]:
    """Like `_wanted`, for the part of a stage: an offset before it means its first byte, and there are no ranges."""
    if stage.start is None and stage.complete:
        raise NotFoundError(NOT_REPORTED, field="stage")
    first, end, _ = _wanted(request, stage) if "offset" in request.query else (0, stage.size_bytes, False)
    return max(first, stage.start or 0), end, False


def _range(text: str, size_bytes: int) -> tuple[int, int] | None:
    """One range of RFC 9110. None for forms that are not supported (several ranges, other units): the whole log."""
    match = _RANGE.fullmatch(text.strip())
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        if _bytes(match[2]) == 0 or size_bytes == 0:
            raise _beyond(size_bytes)
        return max(size_bytes - _bytes(match[2]), 0), size_bytes
    first = _bytes(match[1])
    if match[2] and _bytes(match[2]) < first:
        return None
    if first >= size_bytes:
        raise _beyond(size_bytes)
    return first, min(_bytes(match[2]) + 1, size_bytes) if match[2] else size_bytes


def _bytes(digits: str) -> int:
    return int(digits) if len(digits) <= _MAX_DIGITS else 10**_MAX_DIGITS


def _beyond(size_bytes: int, field: str | None = None) -> RangeNotSatisfiableError:
    return RangeNotSatisfiableError(
        f"The log is complete and ends at offset {size_bytes}; request a smaller offset.",
        field=field,
        headers={"Content-Range": f"bytes */{size_bytes}"},
    )
