"""Delete an app: recorded at once, its builds stopped; its Jenkins job goes once they are over and archived."""

import asyncio
from contextlib import suppress

import structlog

from shuttle.errors import ForeignJobError, UnavailableError
from shuttle.lifecycle import Services
from shuttle.metrics import count_end
from shuttle.standing import Standing
from shuttle.store.apps import app_is_finished, deleted_apps, mark_app_deleted, unmark_deleted_app

log = structlog.get_logger()

# Nobody waits for a job to go; a Jenkins that is away, or that is still ending a job's build, is asked this often.
_EVERY_SECONDS = 5.0


async def delete_app(app_id: str, standing: Standing, services: Services) -> None:
    """Durable when it returns; an unknown app is fine. A later build of the app makes it live again.

    Raises:
        TokenNeededError: the app is not the anonymous caller's business. StoreError: not recorded, ask again.
    """
    for build in await services.database.run(mark_app_deleted, app_id, standing):
        count_end(build)


class AppCleanup:
    """Removes the jobs of deleted apps. `run` once; what fails is tried again."""

    def __init__(self, services: Services) -> None:
        self._services = services
        # Why the job of an app stays for now, so that each reason is logged once.
        self._logged: dict[str, str] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._services.signals.deleted.clear()
            waiting = not await self._remove_jobs()
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY_SECONDS if waiting else None):
                    await self._services.signals.deleted.wait()

    async def _remove_jobs(self) -> bool:
        """Whether no deleted app is left; a job that cannot be removed keeps no other one from going."""
        try:
            apps = await self._services.database.run(deleted_apps)
        except UnavailableError as error:
            log.warning("deleted apps cannot be read", error=error.message)
            return False
        self._logged = {app_id: said for app_id, said in self._logged.items() if app_id in dict(apps)}
        done = True
        for app_id, job_name in apps:
            try:
                done = await self._remove_job(app_id, job_name) and done
            except UnavailableError as error:
                done = False
                self._log_once(app_id, error.message)
        return done

    def _log_once(self, app_id: str, error: str) -> None:
        if self._logged.get(app_id) != error:
            self._logged[app_id] = error
            log.warning("the job of a deleted app stays for now", app_id=app_id, error=error)

    async def _remove_job(self, app_id: str, job_name: str) -> bool:
        """Whether that is done with: builds that are not over need the job, and a newer one keeps it."""
        if not await self._services.database.run(app_is_finished, app_id):
            return False
        async with self._services.signals.job_lock(job_name):
            if not await self._services.database.run(app_is_finished, app_id):
                return False
            try:
                await self._services.jenkins.delete_job(job_name)
            except ForeignJobError as error:
                log.warning("the job of a deleted app is not ours", app_id=app_id, error=error.message)
            await self._services.database.run(unmark_deleted_app, app_id)
            return True
