"""Delete an app: record the deletion and stop its builds; delete its Jenkins job once they are over and archived."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

import structlog

from shuttle.errors import ForeignJobError, StoreError, UnavailableError
from shuttle.lifecycle import Services
from shuttle.lifecycle.keep_running import keep_running
from shuttle.metrics import count_end
from shuttle.standing import Standing
from shuttle.store.apps import (
    DeletedApp,
    app_is_finished,
    deleted_apps,
    mark_app_deleted,
    stop_builds,
    unmark_deleted_app,
)

log = structlog.get_logger()

# The pause between two tries; Jenkins may refuse to delete a job while it ends the job's build. Nobody waits for the
# deletion, so the pause may be long.
_RETRY_SECONDS = 5.0
# A transaction may take 2.5 s, and so may all transactions of a request together. Ending a build takes 2 ms on SQLite
# and up to 7 ms on PostgreSQL; in a busy service with 1,000 waiting builds it took 50 ms.
_ENDED_AT_ONCE = 10
_STORE_PAUSE_SECONDS = 1.0
# What is left after this time is ended in the background.
_ENDING_SECONDS = 1.0


async def delete_app(app_id: str, standing: Standing, services: Services) -> None:
    """Delete the app; durable on return. Succeeds for an unknown app. A later build of the app undoes the deletion.

    All builds are stopped on return. If there are hundreds, some of them end a few seconds later.

    Raises:
        TokenNeededError: an anonymous caller may not delete this app. StoreError: not recorded, retry.
    """
    uuids = await services.database.run(mark_app_deleted, app_id, standing)
    ends_at = time.monotonic() + _ENDING_SECONDS
    with suppress(StoreError):  # the stops are recorded
        while uuids and time.monotonic() < ends_at:
            await _end(uuids[:_ENDED_AT_ONCE], services)
            del uuids[:_ENDED_AT_ONCE]
    services.signals.end_later(uuids)


async def _end(build_uuids: Sequence[str], services: Services) -> None:
    """End those of the builds that were never triggered, and wake the tasks of the others."""
    for build in await services.database.run(stop_builds, build_uuids):
        count_end(build)


class AppCleanup:
    """Ends the builds of deleted apps and deletes the apps' Jenkins jobs; retries after a failure. Start `run` once."""

    def __init__(self, services: Services) -> None:
        self._services = services
        # By app, why its job could not be removed: each reason is logged once.
        self._logged: dict[str, str] = {}

    async def run(self) -> None:
        """Run until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_running("stopped builds", self._end_stopped))
            group.create_task(keep_running("jobs of deleted apps", self._remove_all_jobs))

    async def _end_stopped(self) -> None:
        """End the builds that `delete_app` left, and those that another process or a lost answer left."""
        while True:
            some = await self._services.signals.take_to_end(_ENDED_AT_ONCE)
            try:
                await _end(some, self._services)
            except StoreError as error:
                log.warning("stopped builds are ended one by one", error=error.message)
                await self._end_each(some)
            except Exception:
                self._services.signals.end_later(some)
                raise

    async def _end_each(self, build_uuids: Sequence[str]) -> None:
        """End each by itself: all together may take longer than a transaction may, for example builds with platforms.

        One that cannot be ended now goes behind the others.
        """
        for build_uuid in build_uuids:
            try:
                await _end([build_uuid], self._services)
            except StoreError as error:
                log.warning("a stopped build could not be ended yet", build_uuid=build_uuid, error=error.message)
                self._services.signals.end_later([build_uuid])
                await asyncio.sleep(_STORE_PAUSE_SECONDS)

    async def _remove_all_jobs(self) -> None:
        while True:
            self._services.signals.deleted.clear()
            waiting = not await self._remove_jobs()
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_SECONDS if waiting else None):
                    await self._services.signals.deleted.wait()

    async def _remove_jobs(self) -> bool:
        """Remove the jobs of deleted apps, each independently of the others; returns whether none is left."""
        try:
            apps = await self._services.database.run(deleted_apps)
        except UnavailableError as error:
            log.warning("the list of deleted apps cannot be read", error=error.message)
            return False
        marked = {app.app_id for app in apps}
        self._logged = {app_id: reason for app_id, reason in self._logged.items() if app_id in marked}
        done = True
        for app in apps:
            try:
                done = await self._remove_job(app) and done
            except UnavailableError as error:
                done = False
                self._log_once(app.app_id, error.message)
        return done

    def _log_once(self, app_id: str, error: str) -> None:
        if self._logged.get(app_id) != error:
            self._logged[app_id] = error
            log.warning("the job of a deleted app could not be removed yet", app_id=app_id, error=error)

    async def _remove_job(self, app: DeletedApp) -> bool:
        """Remove the job unless a build of the app still needs it; returns whether nothing is left to do."""
        if not await self._services.database.run(app_is_finished, app.app_id):
            return False
        async with self._services.signals.job_lock(app.job_name):
            finished = await self._services.database.run(app_is_finished, app.app_id)
            # Without the lease another replica may have taken the app since, and be building in that job.
            if not finished or not self._services.lease.is_held:
                return False
            try:
                if app.controller:  # none was chosen for an app without any triggered build
                    await self._services.controllers.of(app.controller).delete_job(app.job_name)
            except ForeignJobError as error:
                log.warning(
                    "the job of a deleted app lacks the marker and is not deleted",
                    app_id=app.app_id,
                    error=error.message,
                )
            await self._services.database.run(unmark_deleted_app, app.app_id)
            return True
