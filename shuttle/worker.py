"""The worker: starts builds, continues them after a restart or a takeover, and assigns slots to them."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from weakref import WeakValueDictionary

import structlog

from shuttle.build import Build, StopCause
from shuttle.errors import NotOwnerError, StoreError, UnavailableError
from shuttle.lifecycle import Services
from shuttle.lifecycle.accept import Acceptance, AcceptedBuild
from shuttle.lifecycle.auto_resume import AutoResumes
from shuttle.lifecycle.backoff import retry_database
from shuttle.lifecycle.build_logs import write_preamble
from shuttle.lifecycle.log_forwarding import LogForwarding
from shuttle.lifecycle.run import finalize, pursue, run
from shuttle.lifecycle.stop import stop_build
from shuttle.logs.spool import SpoolError
from shuttle.metrics import UNDER_WAY
from shuttle.outgoing.endpoints import EndpointKind
from shuttle.sinks import Sink
from shuttle.store.builds import find_build
from shuttle.store.fence import Ownership, current_ownership
from shuttle.store.open_work import OwnedBuild, find_open, no_longer_waiting, open_work
from shuttle.store.transitions import grant_slots, reason_for_waiting, record_waiting

log = structlog.get_logger()

# Signals wake the worker. This limits the delay after a lost signal, and after the deadline of a parked build.
_TICK_SECONDS = 5.0
_STORE_PAUSE_SECONDS = 1.0
# Large enough that sources which stall for SHUTTLE_STAGE_TIMEOUT_SECONDS do not block those of other apps.
_MAX_STAGING = 100


class Worker:
    """Runs builds as tasks of the process. A task that fails because of a bug is logged and started again."""

    def __init__(self, services: Services, sinks: Mapping[EndpointKind, Sink]) -> None:
        """`sinks` maps a kind of sink to its implementation."""
        self._services = services
        # One object for all requests to this process: with it, requests that resume the same build wait for each other.
        self.acceptance = Acceptance(services)
        self._resumes = AutoResumes(services, self.acceptance, self._add_accepted)
        self._forwarding = LogForwarding(services, sinks)
        self._runs: dict[str, asyncio.Task[None]] = {}
        # Also tasks that have left `_runs` and decide how their build continues.
        self._build_tasks: dict[asyncio.Task[None], Build] = {}
        self._parked: dict[str, Build] = {}
        self._awaiting_staging: dict[str, Build] = {}
        self._staging = asyncio.Semaphore(_MAX_STAGING)
        self._staging_of_app: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._loop: asyncio.Task[None] | None = None
        self._grant_unknown = False
        self._closing = False

    async def start(self) -> None:
        """Resume the open work of this process's apps."""
        await self.look()
        self._loop = asyncio.create_task(self._serve(), name="worker")

    def add(self, build: Build, *, has_sinks: bool) -> None:
        """Start a newly accepted build and the forwarding of its log, if this process owns the app."""
        self._begin(build)
        if has_sinks:
            self._forwarding.begin(build.build_uuid)

    def _add_accepted(self, accepted: AcceptedBuild) -> None:
        self.add(accepted.build, has_sinks=accepted.has_sinks)

    async def look(self) -> None:
        """Begin what this process owns and has not begun yet: builds, logs not archived, open sinks, planned resumes.

        After a start or a takeover this is all open work. Later it is only what was recorded without a notice; then
        waiting builds that have got a slot continue, too. Waiting builds that were stopped are ended.
        """
        running = {build.build_uuid for build in self._build_tasks.values()}
        waiting = {*self._parked, *self._awaiting_staging}
        work = await self._services.database.run(open_work, running, waiting)
        for build_uuid in work.no_longer_waiting:
            self._end_wait(build_uuid)
        # Stopped builds that no task would end. A deleted app may have a thousand, so they are ended in batches.
        to_end = {owned.build.build_uuid for owned in work.builds if _is_to_end(owned)}
        to_end |= waiting.intersection(work.stopping)
        self._services.signals.end_later([*work.stopped_records, *to_end])
        for owned in work.builds:
            if owned.build.build_uuid not in to_end:
                self._begin_owned(owned)
        for build_uuid in work.stopping:
            self._services.signals.wake(build_uuid)
        await self._forwarding.add(work.with_open_sinks)
        self._resumes.add(work.resumes)

    def drop(self, app_id: str) -> None:
        """Stop working for an app that another replica has taken."""
        self._services.owned.drop(app_id)
        for build_uuid in [uuid for uuid, build in self._parked.items() if build.app_id == app_id]:
            del self._parked[build_uuid]
        for task, build in self._build_tasks.items():
            if build.app_id == app_id:
                task.cancel()
        self._forwarding.drop(app_id)
        self._resumes.drop(app_id)

    async def close(self, grace_seconds: float) -> None:
        """Cancel all tasks, including open requests to sinks and Jenkins. The next process continues the work."""
        self._closing = True
        tasks = [
            *self._build_tasks,
            *self._forwarding.tasks,
            *self._resumes.tasks,
            *([self._loop] if self._loop else []),
        ]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=grace_seconds)
        self._services.logs.abandon()

    # --- slots

    async def _serve(self) -> None:
        while True:
            try:
                await self._schedule()
            except StoreError as error:
                log.warning("the database is unavailable", error=error.message)
            except Exception:  # a bug must not end the loop: without it no build gets a slot
                log.exception("the assignment of slots failed unexpectedly and will be repeated")
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._services.signals.worker.wait()
            self._services.signals.worker.clear()

    async def _schedule(self) -> None:
        """Resume waiting builds that a stop changed; grant free slots; stop waiting builds whose deadline passed.

        Begin the automatic resumes whose time has come.
        """
        self._resumes.begin_due()
        for build_uuid in self._services.signals.take_changed():
            if not self._end_wait(build_uuid) and build_uuid not in self._runs:  # perhaps another replica accepted it
                await self._begin_found(build_uuid)
        for build_uuid in await self._grant():
            if not self._end_wait(build_uuid):
                await self._begin_found(build_uuid)
        now = self._services.clock.steady()
        waiting = (*self._parked.values(), *self._awaiting_staging.values())
        for build in [build for build in waiting if build.deadline_at <= now]:
            await stop_build(build.build_uuid, StopCause.DEADLINE, self._services)

    def _end_wait(self, build_uuid: str) -> bool:
        """Let the build continue if it waits for a slot, or for the staging of an earlier build of its app."""
        parked = self._parked.pop(build_uuid, None)
        if parked is not None:
            self._begin(parked)
        elif build_uuid in self._awaiting_staging:
            self._runs[build_uuid].cancel()
        else:
            return False
        return True

    async def _begin_found(self, build_uuid: str) -> None:
        owned = await retry_database(partial(self._services.database.run, find_open, build_uuid))
        if owned is not None and build_uuid not in self._runs:
            self._begin_owned(owned)
            self._forwarding.begin(build_uuid)

    async def _find(self, build_uuid: str) -> Build | None:
        return await self._services.database.run(find_build, build_uuid)

    async def _grant(self) -> list[str]:
        """The builds that got a slot, also by an earlier grant that was committed although it raised StoreError."""
        run = self._services.database.run
        lost = await run(no_longer_waiting, set(self._parked)) if self._grant_unknown else ()
        self._grant_unknown = True
        granted = await run(grant_slots, self._services.settings.maximum_parallel_builds)
        self._grant_unknown = False
        return [*lost, *granted]

    # --- builds

    def _begin_owned(self, owned: OwnedBuild) -> None:
        """Begin a build whose log may have been written by another process."""
        self._services.owned.add(Ownership(owned.build.app_id, owned.epoch))
        if not owned.build.state.final:
            self._services.library.recover(owned.build)
        self._begin(owned.build)

    def _begin(self, build: Build) -> None:
        """Run the build as a task, unless it is running already, is not this process's, or the worker is closing."""
        context = self._services.owned.context(build.app_id)
        if self._closing or build.build_uuid in self._runs or context is None:
            return
        task = asyncio.create_task(self._run(build), name=f"build {build.build_uuid}", context=context)
        self._runs[build.build_uuid] = task
        self._build_tasks[task] = build
        task.add_done_callback(self._build_tasks.pop)
        UNDER_WAY.set(len(self._runs))

    async def _run(self, build: Build) -> None:
        try:
            if build.staged_at is None and not build.state.final:
                await self._stage_in_order(build)
            else:
                await run(build.build_uuid, self._services)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closing or task is None or not self._still_owns(build):
                raise
            task.uncancel()  # the build ended while it waited for staging; the rest needs no staging slot
        except NotOwnerError:
            if self._still_owns(build):
                log.warning("another replica has taken over an app", app_id=build.app_id)
                self.drop(build.app_id)
        except UnavailableError as error:
            log.warning("a build waits", build_uuid=build.build_uuid, error=error.message)
            await asyncio.sleep(_STORE_PAUSE_SECONDS)
        except Exception:  # a bug must not lose the build: log the error, and continue from its row
            log.exception("a build's task failed and will be restarted", build_uuid=build.build_uuid)
            await asyncio.sleep(1)
        finally:
            del self._runs[build.build_uuid]
            UNDER_WAY.set(len(self._runs))
        if not self._closing and self._still_owns(build):
            await retry_database(lambda: self._continue(build.build_uuid))

    def _still_owns(self, build: Build) -> bool:
        """Whether the app is this process's in the epoch of the current task; `look` begins builds of a newer epoch."""
        return self._services.owned.ownership(build.app_id) in current_ownership()

    async def _stage_in_order(self, build: Build) -> None:
        """Stage one source of an app at a time, in the order of acceptance; `finalize` runs without the lock."""
        self._awaiting_staging[build.build_uuid] = build
        try:
            async with self._staging_of_app.setdefault(build.app_id, asyncio.Lock()), self._staging:
                del self._awaiting_staging[build.build_uuid]
                ending = await pursue(build.build_uuid, self._services)
        finally:
            self._awaiting_staging.pop(build.build_uuid, None)
        await finalize(build.build_uuid, ending, self._services)

    async def _continue(self, build_uuid: str) -> None:
        """After a task has ended: park the build, start it again, or leave its log to the sinks."""
        build = await self._find(build_uuid)
        if build is None:
            return
        if build.state.final:
            await self._forwarding.settle(build)
            self._parked.pop(build_uuid, None)
            if (build.record or {}).get("auto_resume") is not None:
                await self._resumes.add_of(build_uuid)
            if build.archived_at is None:
                self._begin(build)
        elif build.staged_at is not None and build.slot_at is None:
            await self._park(build)
        else:
            self._begin(build)

    async def _park(self, build: Build) -> None:
        """Let the build wait for a slot without a task, and show the reason if no slot is free."""
        self._parked[build.build_uuid] = build
        # A stop between the read of this build and the line above has found it neither parked nor running.
        newest = await self._find(build.build_uuid)
        if newest is not None and (newest.state.final or newest.stop_cause is not None):
            if self._parked.pop(build.build_uuid, None) is not None:
                self._begin(newest)
            return
        await self._schedule()
        if build.build_uuid in self._parked:
            why = await self._services.database.run(
                reason_for_waiting, build.build_uuid, self._services.settings.maximum_parallel_builds
            )
            if why is not None:
                line = f"-----> Waiting for {why}.\n"
                parked = await self._services.database.run(record_waiting, build.build_uuid, why, line)
                # The line is not vital: if the disk cannot store the log, a later step ends the build.
                with suppress(SpoolError):
                    write_preamble(parked or build, self._services.library.spool(build.build_uuid))


def _is_to_end(owned: OwnedBuild) -> bool:
    """Whether the build was stopped before it was triggered, and has not ended."""
    build = owned.build
    return build.stop_cause is not None and build.trigger_attempted_at is None and not build.state.final
