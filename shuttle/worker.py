"""The worker: the other entrance beside web/. It begins, resumes and gives turns to builds, and carries their logs."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

import structlog

from shuttle.build import Build, StopCause
from shuttle.errors import StoreError, UnavailableError
from shuttle.lifecycle import Services
from shuttle.lifecycle.build_logs import write_preamble
from shuttle.lifecycle.run import finalize, pursue, run
from shuttle.lifecycle.stop import stop_build
from shuttle.logs.spool import SpoolError
from shuttle.metrics import UNDER_WAY
from shuttle.sinks import Sink, SinkTarget
from shuttle.store.builds import find_build, unarchived_builds, unfinished_builds
from shuttle.store.ledger import has_open_sinks
from shuttle.store.transitions import builds_with_slots, grant_slots, reason_for_waiting, record_waiting

log = structlog.get_logger()

_Answer = TypeVar("_Answer")

# Signals wake the worker; this bounds what a lost one costs, and how late a parked build's deadline is noticed.
_TICK_SECONDS = 5.0
_STORE_PAUSE_SECONDS = 1.0
_SPOOL_PAUSE_SECONDS = 1.0
# Sources that stall for SHUTTLE_STAGE_TIMEOUT_SECONDS must not keep those of other apps from being fetched.
_STAGED_AT_ONCE = 100


class Worker:
    """Runs builds as tasks of the process. A task that dies of a bug is logged and begun again, never forgotten."""

    def __init__(self, services: Services, sinks: dict[str, Sink]) -> None:
        """`sinks` by kind."""
        self._services = services
        self._sinks = sinks
        self._runs: dict[str, asyncio.Task[None]] = {}
        # Also those that have left `_runs` and decide what is next for their build.
        self._build_tasks: set[asyncio.Task[None]] = set()
        self._carriers: dict[int, asyncio.Task[None]] = {}
        self._carrier_starts: set[asyncio.Task[None]] = set()
        self._parked: dict[str, Build] = {}
        self._in_line: dict[str, Build] = {}
        self._staging = asyncio.Semaphore(_STAGED_AT_ONCE)
        self._staging_of_app: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._ended_at: dict[str, datetime] = {}
        self._loop: asyncio.Task[None] | None = None
        self._grant_is_unknown = False
        self._closing = False

    async def start(self) -> None:
        """Take up everything that is not over: unfinished builds, logs to archive, sinks to feed."""
        unfinished = await self._services.database.run(unfinished_builds)
        for build in unfinished:
            self._services.library.recover(build)
            self._begin(build)
        for build in await self._services.database.run(unarchived_builds):
            self._begin(build)
        for target in await self._services.sinks.open_sinks():
            await self._carry(target)
        self._loop = asyncio.create_task(self._serve(), name="worker")

    def adopt(self, build: Build, *, has_sinks: bool) -> None:
        """A build was just accepted."""
        self._begin(build)
        if has_sinks:
            self._spawn_carriers(build.build_uuid)

    async def close(self, grace_seconds: float) -> None:
        """Stop claiming, abort what is open towards strangers, and let go; nothing fails because we stopped."""
        self._closing = True
        tasks = [
            *self._build_tasks,
            *self._carrier_starts,
            *self._carriers.values(),
            *([self._loop] if self._loop else []),
        ]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=grace_seconds)
        self._services.logs.abandon()

    # --- turns

    async def _serve(self) -> None:
        while True:
            try:
                await self._give_turns()
            except StoreError as error:
                log.warning("the database is out of reach", error=error.message)
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._services.signals.worker.wait()
            self._services.signals.worker.clear()

    async def _give_turns(self) -> None:
        """Grant free slots; begin what a stop changed; end parked builds whose deadline passed."""
        for build_uuid in self._services.signals.take_changed():
            changed = self._parked.pop(build_uuid, None)
            if changed is not None:
                self._begin(changed)
            elif build_uuid in self._in_line:
                self._runs[build_uuid].cancel()
        for build_uuid in await self._granted():
            granted = self._parked.pop(build_uuid, None) or await self._once_stored(partial(self._find, build_uuid))
            if granted is not None:
                self._begin(granted)
        now = self._services.clock.steady()
        waiting = (*self._parked.values(), *self._in_line.values())
        for build in [build for build in waiting if build.deadline_at <= now]:
            await stop_build(build.build_uuid, StopCause.DEADLINE, self._services)

    async def _find(self, build_uuid: str) -> Build | None:
        return await self._services.database.run(find_build, build_uuid)

    async def _granted(self) -> list[str]:
        """The builds that have a slot now; a grant may have been committed though it raised StoreError."""
        lost = (
            await self._services.database.run(builds_with_slots, list(self._parked)) if self._grant_is_unknown else []
        )
        self._grant_is_unknown = True
        granted = await self._services.database.run(grant_slots, self._services.settings.maximum_parallel_builds)
        self._grant_is_unknown = False
        return [*lost, *granted]

    # --- builds

    def _begin(self, build: Build) -> None:
        """Run the build as a task, unless it is running or we are going down."""
        if self._closing or build.build_uuid in self._runs:
            return
        task = asyncio.create_task(self._run(build), name=f"build {build.build_uuid}")
        self._runs[build.build_uuid] = task
        self._build_tasks.add(task)
        task.add_done_callback(self._build_tasks.discard)
        UNDER_WAY.set(len(self._runs))

    async def _run(self, build: Build) -> None:
        try:
            if build.staged_at is None and not build.state.final:
                await self._stage_in_turn(build)
            else:
                await run(build.build_uuid, self._services)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closing or task is None:
                raise
            task.uncancel()  # it ended while it stood in line: what is left to do needs no turn
        except UnavailableError as error:
            log.warning("a build waits", build_uuid=build.build_uuid, error=error.message)
            await asyncio.sleep(_STORE_PAUSE_SECONDS)
        except Exception:  # a bug must not lose the build: say so, and go on from its row
            log.exception("a build's task failed; it goes on in a moment", build_uuid=build.build_uuid)
            await asyncio.sleep(1)
        finally:
            del self._runs[build.build_uuid]
            UNDER_WAY.set(len(self._runs))
        while not self._closing:
            try:
                await self._after(build.build_uuid)
                break
            except StoreError as error:
                log.warning("the database is out of reach", error=error.message)
                await asyncio.sleep(_STORE_PAUSE_SECONDS)

    async def _stage_in_turn(self, build: Build) -> None:
        """One source of an app at a time, in the order of acceptance; the turn ends before the build is settled."""
        self._in_line[build.build_uuid] = build
        try:
            async with self._staging_of_app.setdefault(build.app_id, asyncio.Lock()), self._staging:
                del self._in_line[build.build_uuid]
                ending = await pursue(build.build_uuid, self._services)
        finally:
            self._in_line.pop(build.build_uuid, None)
        await finalize(build.build_uuid, ending, self._services)

    async def _after(self, build_uuid: str) -> None:
        """Park it, begin it again, or let it go."""
        build = await self._services.database.run(find_build, build_uuid)
        if build is None:
            return
        if build.finished_steady_at is not None and await self._services.database.run(has_open_sinks, build_uuid):
            self._ended_at[build_uuid] = build.finished_steady_at
        if build.state.final:
            self._parked.pop(build_uuid, None)
            if build.archived_at is None:
                self._begin(build)
            else:
                await self._let_go(build_uuid)
        elif build.staged_at is not None and build.slot_at is None:
            await self._park(build)
        else:
            self._begin(build)

    async def _park(self, build: Build) -> None:
        """It waits for its turn, holding neither a slot nor a task."""
        self._parked[build.build_uuid] = build
        await self._give_turns()
        if build.build_uuid in self._parked:
            why = await self._services.database.run(
                reason_for_waiting, build.build_uuid, self._services.settings.maximum_parallel_builds
            )
            if why is not None:
                line = f"-----> Waiting for {why}.\n"
                parked = await self._services.database.run(record_waiting, build.build_uuid, why, line)
                # Not vital: a disk that takes no log ends the build when its flow meets it.
                with suppress(SpoolError):
                    write_preamble(parked or build, self._services.library.spool(build.build_uuid))

    # --- sinks

    def _spawn_carriers(self, build_uuid: str) -> None:
        task = asyncio.create_task(self._carry_all(build_uuid))
        self._carrier_starts.add(task)
        task.add_done_callback(self._carrier_starts.discard)

    async def _carry_all(self, build_uuid: str) -> None:
        for target in await self._once_stored(lambda: self._services.sinks.open_sinks(build_uuid)):
            await self._carry(target)

    async def _once_stored(self, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Ask the database until it answers: without these tasks a log would be sent after the next start only."""
        while True:
            try:
                return await ask()
            except StoreError as error:
                log.warning("a log waits for the database", error=error.message)
                await asyncio.sleep(_STORE_PAUSE_SECONDS)

    async def _carry(self, target: SinkTarget) -> None:
        if target.sink_id in self._carriers:
            return
        task = asyncio.create_task(self._carry_one(target), name=f"sink {target.sink_id}")
        self._carriers[target.sink_id] = task
        task.add_done_callback(lambda _: self._carriers.pop(target.sink_id, None))

    async def _carry_one(self, target: SinkTarget) -> None:
        """One log to one stranger, until done or given up; afterwards the spool may go."""
        build_uuid = target.build_uuid
        build = await self._once_stored(lambda: self._services.database.run(find_build, build_uuid))
        assert build is not None  # noqa: S101 - a sink's row refers to it
        if build.finished_steady_at is not None:
            self._ended_at[build_uuid] = build.finished_steady_at
        sink = self._sinks[target.kind]
        while True:
            try:
                reader = self._services.library.reader(build)
                await sink.forward(target, reader, self._services.sinks, lambda: self._ended_at.get(build_uuid))
                break
            except SpoolError as error:  # the disk may be given room or be mended
                log.warning("a sink waits for the log's spool", build_uuid=build_uuid, error=error.message)
                await asyncio.sleep(_SPOOL_PAUSE_SECONDS)
            except Exception:  # a bug must not lose the log: say so, and go on from what is acknowledged
                log.exception("a sink's task failed; it goes on in a moment", build_uuid=build_uuid)
                await asyncio.sleep(1)
                opened = await self._once_stored(lambda: self._services.sinks.open_sinks(build_uuid))
                still_open = {again.sink_id: again for again in opened}
                if target.sink_id not in still_open:
                    break
                target = still_open[target.sink_id]
        if not await self._once_stored(lambda: self._services.database.run(has_open_sinks, build_uuid)):
            self._ended_at.pop(build_uuid, None)
            await self._once_stored(lambda: self._let_go(build_uuid))

    async def _let_go(self, build_uuid: str) -> None:
        """The spool goes once the log is archived and no sink needs it any more."""
        build = await self._services.database.run(find_build, build_uuid)
        if (
            build is not None
            and build.archived_at is not None
            and not await self._services.database.run(has_open_sinks, build_uuid)
        ):
            self._services.library.forget(build_uuid)
