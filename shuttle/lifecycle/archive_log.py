"""Archive the log of a finished build: complete its spool, store it as objects, and remove the local source."""

import asyncio

import structlog

from shuttle.build import Build, FinalLog
from shuttle.errors import ShuttleError, UnavailableError
from shuttle.lifecycle import Services
from shuttle.lifecycle.backoff import Backoff
from shuttle.lifecycle.build_logs import write_preamble
from shuttle.lifecycle.stage import forget_local_source
from shuttle.logs.archive import archive, digest
from shuttle.logs.spool import Spool, SpoolError
from shuttle.logs.writer import PART_LOST
from shuttle.objects.names import log_objects
from shuttle.store.transitions import correct_log, mark_archived

log = structlog.get_logger()


async def archive_log(build: Build, services: Services) -> None:
    """Complete the spool, remove the local source and archive the log.

    A failure of the disk or the object store never changes the build's result: the step is repeated until it succeeds.
    """
    backoff = Backoff(build.build_uuid, services)
    await backoff.until(lambda: services.pieces.restore(build), "the log", errors=ShuttleError)
    spool = await backoff.until(lambda: _completed_spool(build, services), "the spool", errors=SpoolError)
    await asyncio.to_thread(forget_local_source, build, services)  # a killed clone may have left thousands of files
    await backoff.until(lambda: _store(build, spool, services), "the object store")
    await services.database.run(mark_archived, build.build_uuid)
    await _delete_pieces(build, services)


async def _delete_pieces(build: Build, services: Services) -> None:
    try:
        await services.pieces.delete(build.build_uuid)
    except UnavailableError as error:  # retention deletes them later
        log.warning("pieces of a log could not be deleted", build_uuid=build.build_uuid, error=error.message)


async def _completed_spool(build: Build, services: Services) -> Spool:
    """Make the spool equal to the bytes whose checksum is in the final status."""
    spool = services.library.spool(build.build_uuid)
    ending = (build.log_ending or "").encode()
    size_bytes = build.log_bytes or 0
    before = size_bytes - len(ending)
    write_preamble(build, spool)
    if spool.written_bytes > size_bytes:
        spool.truncate(before)
    if spool.written_bytes < before:
        await _record_loss(build, spool, ending, services)
    else:
        spool.append(ending[spool.written_bytes - before :])
    spool.show(spool.written_bytes)
    spool.end()
    return spool


async def _store(build: Build, spool: Spool, services: Services) -> None:
    for name in log_objects(build):
        await archive(spool.path, services.objects, name)


async def _record_loss(build: Build, spool: Spool, ending: bytes, services: Services) -> None:
    """Durable bytes were lost with a disk: write that into the log, and record size and checksum of the rest."""
    log.error("bytes of a finished log are lost", build_uuid=build.build_uuid, kept_bytes=spool.written_bytes)
    new_ending = f"{PART_LOST}\n".encode() + ending
    if not spool.ending().endswith(new_ending):  # else an interrupted run of this step has written it
        spool.append(new_ending if spool.ending().endswith(b"\n") else b"\n" + new_ending)
    kept = await asyncio.to_thread(digest, spool.path)
    await services.database.run(correct_log, build.build_uuid, FinalLog(*kept, new_ending.decode()))
