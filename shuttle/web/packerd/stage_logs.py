"""The logs of stages: the end of each as a part of JSON, and a whole one as text that can be followed."""

from aiohttp import web

from shuttle.build import Build
from shuttle.errors import ObjectNotFoundError
from shuttle.lifecycle.log_pieces import recorded_bytes
from shuttle.lifecycle.replica_log import open_reader
from shuttle.logs import LogReader
from shuttle.store.packer_requests import RecordedRun
from shuttle.store.progress import StageRow
from shuttle.store.request_time import end_limit
from shuttle.web import SERVICES
from shuttle.web.logs import raise_if_disconnected, send_log, wait_for_begin
from shuttle.web.packerd.links import stage_link
from shuttle.web.packerd.stages import RunStage
from shuttle.web.stages import StageReader

# Of a longer log only the end is a part of JSON, so that an answer costs the same for a log of any size.
MAX_LOG_BYTES = 1024 * 1024
_REREAD_SECONDS = 1.0
_NOT_KEPT = "-----> The log of this build is no longer kept.\n"


async def open_log(request: web.Request, build: Build, stages: list[RunStage]) -> LogReader | None:
    """A reader of the build's log; None if no stage has a part of it."""
    if all(stage.row is None or stage.row.log_start is None for stage in stages):
        return None
    return await open_reader(build, request.app[SERVICES])


async def end_of_log(stage: RunStage, build: Build, run: RecordedRun, reader: LogReader | None) -> str:
    """The last MAX_LOG_BYTES of the stage's log, after a line that says where the whole is; all of a shorter one."""
    row = stage.row
    if row is None:
        return stage.text
    if row.log_start is None or reader is None:
        return stage.text
    without_ending = recorded_bytes(build) if build.state.final else None
    stop = min(each for each in (reader.size_bytes, without_ending, row.log_stop) if each is not None)
    after = len(stage.text.encode())
    first = max(row.log_start, stop + after - MAX_LOG_BYTES)
    try:
        end = await _read(reader, first, stop)
    except ObjectNotFoundError:
        return _NOT_KEPT + stage.text
    if first == row.log_start:
        return end.decode("utf-8", "replace") + stage.text
    # The end may begin within a line, or even within a character, so what precedes its first line end is left out. If
    # it has no line end, all of it is shown.
    rest, newline, lines = end.partition(b"\n")
    shown = (lines if newline else rest).decode("utf-8", "replace")
    whole = f"{stage_link(run, stage.name).href}?follow=true"
    size_bytes = stop + after - row.log_start
    return f"-----> This log has {size_bytes} bytes; this is its end. The whole log is at {whole}\n{shown}{stage.text}"


async def _read(reader: LogReader, first: int, stop: int) -> bytes:
    blocks = list[bytes]()
    while first < stop and (block := await reader.read(first, stop - first)):
        blocks.append(block)
        first += len(block)
    return b"".join(blocks)


async def send_stage(request: web.Request, row: StageRow, build: Build) -> web.StreamResponse:
    """The whole log of the pipeline's stage as text, while it grows."""
    services = request.app[SERVICES]
    whole = await open_reader(build, services)
    reader = StageReader(whole, build.build_uuid, row, services.database, with_reason=True)
    await reader.refresh()
    if row.raw_start is not None and request.method != "HEAD":
        await wait_for_begin(request, reader)
    first = reader.start or 0
    return await send_log(request, reader, first, max(first, reader.size_bytes), follow=True)


async def until_staged(request: web.Request, build: Build) -> Build:
    """Wait until the source is staged, or the build is over; returns the build's newest row."""
    end_limit()
    services = request.app[SERVICES]
    with services.signals.listen(build.build_uuid) as listener:
        while build.staged_at is None and not build.state.final:
            await listener.wait(_REREAD_SECONDS)
            raise_if_disconnected(request)
            build = await services.current(build)
    return build
