"""Logs for the older API: as `{"output": …}`, and those that the old shuttle left in the bucket."""

import codecs
import json
from collections.abc import AsyncIterator

from aiohttp import web

from shuttle.errors import InvalidRequestError, NotFoundError, ObjectNotFoundError
from shuttle.logs import LogReader
from shuttle.logs.archive import ArchivedLog
from shuttle.objects.names import legacy_log_object
from shuttle.request import legacy_app
from shuttle.web import SERVICES, STREAMING
from shuttle.web.names import ids_in

# A reader that has stopped reading holds one block in memory.
_BLOCK_BYTES = 64 * 1024
# Clients of the older API hold the whole answer in memory, and some of them several copies.
_MAX_JSON_LOG_BYTES = 8 * 1024 * 1024


async def old_shuttles_log(request: web.Request) -> LogReader:
    """The log of a build of the old shuttle, found in the bucket only; raises NotFoundError, ObjectStoreError."""
    not_found = NotFoundError("There is no such build.")
    try:
        app_id, build_id = ids_in(request)
    except InvalidRequestError:
        raise not_found from None
    if not (legacy_app(app_id) and build_id.isascii() and build_id.isdigit()):
        raise not_found
    name = legacy_log_object(app_id, build_id)
    info = await request.app[SERVICES].objects.head(name)
    if info is None:
        raise not_found
    return request.app[SERVICES].library.archived(name, info.size_bytes)


async def check_kept(reader: LogReader) -> None:
    """Raises NotFoundError, for HEAD as for GET, if the build is known but its log is no longer kept."""
    if isinstance(reader, ArchivedLog) and not await reader.exists():
        raise _no_longer_kept()


def _no_longer_kept() -> NotFoundError:
    return NotFoundError("The log of this build is no longer kept (SHUTTLE_KEEP_LOGS_DAYS).")


def wants_json(request: web.Request) -> bool:
    """Whether the caller accepts JSON and no text. An existing client sends Content-Type, without a body, instead."""
    accepted = f"{request.headers.get('Accept', '')},{request.headers.get('Content-Type', '')}".lower()
    return "application/json" in accepted and "text/" not in accepted


async def send_as_json(request: web.Request, reader: LogReader) -> web.StreamResponse:
    """Stream the present log as `{"output": …}`; of a long log only its tail, after a notice."""
    size_bytes = reader.size_bytes
    blocks = _escaped(reader, max(size_bytes - _MAX_JSON_LOG_BYTES, 0), size_bytes)
    first = (
        await anext(blocks) if request.method != "HEAD" else b""
    )  # before the headers, so that an error can still be answered
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-store"})
    if request.version < (1, 1):
        response.force_close()
    request[STREAMING] = True
    await response.prepare(request)
    if request.method != "HEAD":
        await response.write(first)
        async for block in blocks:
            await response.write(block)
    await response.write_eof()
    return response


async def _escaped(reader: LogReader, offset: int, end: int) -> AsyncIterator[bytes]:
    """The bytes of the JSON object, block by block."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    head = ""
    if offset:
        skipped, first = await _first_whole_line(reader, offset, end)
        head = f"-----> The first {skipped} bytes are left out.\n"
        offset = skipped + len(first)
        head += decoder.decode(first)
    yield b'{"output":"' + _inner(head)
    while offset < end:
        try:
            block = await reader.read(offset, min(_BLOCK_BYTES, end - offset))
        except ObjectNotFoundError:
            raise _no_longer_kept() from None
        if not block:
            break
        offset += len(block)
        yield _inner(decoder.decode(block))
    yield _inner(decoder.decode(b"", final=True)) + b'"}'


async def _first_whole_line(reader: LogReader, offset: int, end: int) -> tuple[int, bytes]:
    """The offset of the first whole line at or after `offset`, and the bytes already read from there."""
    block = await reader.read(offset, min(_BLOCK_BYTES, end - offset))
    line_end = block.find(b"\n") + 1
    return offset + line_end, block[line_end:]


def _inner(text: str) -> bytes:
    return json.dumps(text)[1:-1].encode()
