"""Sends the logs of builds to their sinks, with a task for each open sink, and removes spools that no sink needs."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime

import structlog

from shuttle.build import Build
from shuttle.errors import NotOwnerError, UnavailableError
from shuttle.lease import Lease
from shuttle.lifecycle import Services
from shuttle.lifecycle.backoff import retry_database
from shuttle.logs import LogReader
from shuttle.logs.spool import SpoolError
from shuttle.outgoing.endpoints import EndpointKind
from shuttle.sinks import Sink, SinkTarget
from shuttle.store.builds import find_build
from shuttle.store.ledger import has_open_sinks

log = structlog.get_logger()

_SPOOL_PAUSE_SECONDS = 1.0
_FAULT_PAUSE_SECONDS = 1.0


class LogForwarding:
    """Forwards logs as tasks of the process. A task that fails because of a bug is logged and started again."""

    def __init__(self, services: Services, sinks: Mapping[EndpointKind, Sink]) -> None:
        self._services = services
        self._sinks = sinks
        self._starts: set[asyncio.Task[None]] = set()
        self._forwards: dict[int, asyncio.Task[None]] = {}
        self._targets: dict[int, SinkTarget] = {}
        # When builds with open sinks ended, on steady time.
        self._ended_at: dict[str, datetime] = {}

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """All running tasks, to be cancelled at a shutdown."""
        return [*self._starts, *self._forwards.values()]

    async def add(self, build_uuids: Collection[str]) -> None:
        """Start a task for each open sink of these builds that has none."""
        unknown = {*build_uuids} - {target.build_uuid for target in self._targets.values()}
        for target in await self._services.sinks.open_sinks(sorted(unknown)) if unknown else ():
            self._start(target)

    def begin(self, build_uuid: str) -> None:
        """Start to send the log of a newly accepted build."""
        task = asyncio.create_task(self._start_all(build_uuid))
        self._starts.add(task)
        task.add_done_callback(self._starts.discard)

    def drop(self, app_id: str) -> None:
        """Stop sending the logs of an app that another replica has taken."""
        for sink_id, target in self._targets.items():
            if target.app_id == app_id:
                self._forwards[sink_id].cancel()
                self._ended_at.pop(target.build_uuid, None)

    async def settle(self, build: Build) -> None:
        """Start the time in which the open sinks of an ended build have to finish. If none is open and the log is
        archived, remove its spool."""
        if await self._services.database.run(has_open_sinks, build.build_uuid):
            self._note_end(build)
            return
        self._ended_at.pop(build.build_uuid, None)
        if build.archived_at is not None:
            self._services.library.forget(build.build_uuid)

    def _note_end(self, build: Build) -> None:
        if build.finished_steady_at is not None:
            self._ended_at[build.build_uuid] = build.finished_steady_at

    async def _start_all(self, build_uuid: str) -> None:
        for target in await self._open_sinks(build_uuid):
            self._start(target)

    def _start(self, target: SinkTarget) -> None:
        context = self._services.owned.context(target.app_id)
        if target.sink_id in self._forwards or context is None:
            return
        task = asyncio.create_task(self._forward_until_lost(target), name=f"sink {target.sink_id}", context=context)
        self._forwards[target.sink_id] = task
        self._targets[target.sink_id] = target
        task.add_done_callback(lambda _: self._forget(target.sink_id))

    def _forget(self, sink_id: int) -> None:
        del self._forwards[sink_id], self._targets[sink_id]

    async def _forward_until_lost(self, target: SinkTarget) -> None:
        with suppress(NotOwnerError):  # the replica that has taken the app continues at the acknowledged offset
            await self._forward(target)

    async def _forward(self, target: SinkTarget) -> None:
        """Send one log to one sink until it is done or given up."""
        build = await retry_database(lambda: self._services.database.run(find_build, target.build_uuid))
        assert build is not None  # noqa: S101 - a sink's row refers to it
        self._note_end(build)
        open_target: SinkTarget | None = target
        while open_target is not None:
            open_target = await self._forward_once(open_target, build)
        await retry_database(lambda: self._settle_newest(build))

    async def _settle_newest(self, build: Build) -> None:
        await self.settle(await self._services.current(build))

    async def _forward_once(self, target: SinkTarget, build: Build) -> SinkTarget | None:
        """Send the log; None = the sink is done or given up, else the sink with which to continue."""
        build_uuid = build.build_uuid
        try:
            reader = _LeasedReader(await self._services.logs.reader(build), self._services.lease)
            sink = self._sinks[target.kind]
            await sink.forward(target, reader, self._services.sinks, lambda: self._ended_at.get(build_uuid))
        except (SpoolError, UnavailableError) as error:  # the disk may be freed, the object store may answer
            log.warning("a sink waits for the log's spool", build_uuid=build_uuid, error=error.message)
            await asyncio.sleep(_SPOOL_PAUSE_SECONDS)
            return await self._still_open(target)
        except NotOwnerError:
            raise
        except Exception:  # a bug must not lose the log: log the error, and continue at the acknowledged offset
            log.exception("a sink's task failed and will be restarted", build_uuid=build_uuid)
            await asyncio.sleep(_FAULT_PAUSE_SECONDS)
            return await self._still_open(target)
        return None

    async def _still_open(self, target: SinkTarget) -> SinkTarget | None:
        """The sink with its newest acknowledged offset."""
        still_open = await self._open_sinks(target.build_uuid)
        return next((again for again in still_open if again.sink_id == target.sink_id), None)

    async def _open_sinks(self, build_uuid: str) -> list[SinkTarget]:
        return await retry_database(lambda: self._services.sinks.open_sinks([build_uuid]))


class _LeasedReader:
    """A LogReader for senders: it returns bytes only while this process holds the lease."""

    def __init__(self, reader: LogReader, lease: Lease) -> None:
        self._reader = reader
        self._lease = lease
        self.grown_beyond = reader.grown_beyond

    @property
    def size_bytes(self) -> int:
        """See the port."""
        return self._reader.size_bytes

    @property
    def complete(self) -> bool:
        """See the port."""
        return self._reader.complete

    async def read(self, offset: int, limit_bytes: int) -> bytes:
        """See the port."""
        block = await self._reader.read(offset, limit_bytes)
        await self._lease.held()
        return block
