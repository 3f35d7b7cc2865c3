"""Delete an app: record the deletion and stop its builds; delete its Jenkins job once they are over and archived."""

import asyncio
from contextlib import suppress

import structlog

from shuttle.errors import ForeignJobError, UnavailableError
from shuttle.lifecycle import Services
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
# A transaction may take 2.5 s, and so may all transactions of a request together. If an app has more builds than can be
# stopped in that time, the request is answered 503, and its repetitions stop the rest.
_STOPPED_AT_ONCE = 50


async def delete_app(app_id: str, standing: Standing, services: Services) -> None:
    """Delete the app; durable on return. Succeeds for an unknown app. A later build of the app undoes the deletion.

    Raises:
        TokenNeededError: an anonymous caller may not delete this app. StoreError: not recorded, retry.
    """
    uuids = await services.database.run(mark_app_deleted, app_id, standing)
    for first in range(0, len(uuids), _STOPPED_AT_ONCE):
        for build in await services.database.run(stop_builds, uuids[first : first + _STOPPED_AT_ONCE]):
            count_end(build)


class AppCleanup:
    """Deletes the Jenkins jobs of deleted apps; retries after a failure. Start `run` once."""

    def __init__(self, services: Services) -> None:
        self._services = services
        # By app, why its job could not be removed: each reason is logged once.
        self._logged: dict[str, str] = {}

    async def run(self) -> None:
        """Run until cancelled."""
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
