"""Retention: remove expired sources, logs and records."""

import asyncio
from datetime import timedelta

import structlog

from shuttle.build import Build
from shuttle.errors import UnavailableError
from shuttle.lifecycle import Services
from shuttle.lifecycle.left_files import remove_left_sources, remove_left_uploads
from shuttle.lifecycle.uploads import Uploads
from shuttle.objects.local import local_disk
from shuttle.objects.names import artifact_object, log_objects, source_object
from shuttle.store.builds import artifacts_of, find_build
from shuttle.store.pending_uploads import orphaned_uploads
from shuttle.store.retain import Expiring, archived_of, drop_record, expired_builds, mark_deleted

log = structlog.get_logger()

_INTERVAL_SECONDS = 3600.0
_BATCH_SIZE = 100
# Much longer than any POST, and than any delayed write of an object store.
_ORPHANED_AFTER = timedelta(days=1)


class Retention:
    """Sweeps once an hour. A failed sweep is repeated an hour later."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._uploads = Uploads(services)

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                await self.sweep()
            except UnavailableError as error:
                log.warning("retention failed and will be retried", error=error.message)
            except Exception:  # a bug must not end the loop: without it nothing is removed any more
                log.exception("retention failed unexpectedly and will be retried")
            await asyncio.sleep(_INTERVAL_SECONDS)

    async def sweep(self) -> None:
        """Remove what is older than SHUTTLE_KEEP_SOURCES_DAYS, SHUTTLE_KEEP_LOGS_DAYS and SHUTTLE_KEEP_RECORDS_DAYS.

        Uses the wall clock: people count these days by the calendar. Sources without a record are removed as well.
        """
        settings, now = self._services.settings, self._services.clock.now()
        for what, days, names_of in (
            (Expiring.SOURCE, settings.shuttle_keep_sources_days, _source_objects),
            (Expiring.LOG, settings.shuttle_keep_logs_days, log_objects),
        ):
            before = now - timedelta(days=days)
            while expired := await self._services.database.run(expired_builds, what, before, limit=_BATCH_SIZE):
                for build_uuid in expired:
                    build = await self._services.database.run(find_build, build_uuid)
                    for name in names_of(build) if build is not None else ():
                        await self._services.objects.delete(name)
                    await self._services.database.run(mark_deleted, what, build_uuid)
        await self._remove_orphaned()
        await self._services.pieces.delete_left()
        await self._remove_left_spools()
        await remove_left_sources(self._services)
        await asyncio.to_thread(remove_left_uploads, self._services)
        if settings.shuttle_keep_records_days > 0:
            before = now - timedelta(days=settings.shuttle_keep_records_days)
            while expired := await self._services.database.run(
                expired_builds, Expiring.RECORD, before, limit=_BATCH_SIZE
            ):
                for build_uuid in expired:
                    await self._drop(build_uuid)

    async def _remove_orphaned(self) -> None:
        """Remove sources whose POST recorded no build: it was interrupted, or the source was stored too late."""
        before = self._services.clock.steady() - _ORPHANED_AFTER
        while orphaned := await self._services.database.run(orphaned_uploads, before, limit=_BATCH_SIZE):
            for build_uuid, holder in orphaned:
                await self._uploads.delete(build_uuid, holder)

    async def _remove_left_spools(self) -> None:
        """Remove spools of archived builds: those of a killed process, and those of apps of other replicas."""
        library = self._services.library
        with local_disk():
            on_disk = await asyncio.to_thread(library.on_disk)
        for first in range(0, len(on_disk), _BATCH_SIZE):
            archived = await self._services.database.run(archived_of, on_disk[first : first + _BATCH_SIZE])
            for build_uuid, app_id in archived.items():
                if app_id not in self._services.owned or not library.has_open(build_uuid):
                    library.forget(build_uuid)

    async def _drop(self, build_uuid: str) -> None:
        """Delete a record after its objects, because only the record has their names."""
        build = await self._services.database.run(find_build, build_uuid)
        artifacts = await self._services.database.run(artifacts_of, build_uuid, with_deleted=True)
        names = [artifact_object(build_uuid, artifact.name) for artifact in artifacts]
        if build is not None:
            names += [*_source_objects(build), *log_objects(build)]
        for name in names:
            await self._services.objects.delete(name)
        await self._services.database.run(drop_record, build_uuid)


def _source_objects(build: Build) -> tuple[str, ...]:
    return (source_object(build.build_uuid),)
