"""Retain: what has been kept long enough is removed from the object store, and old records with it."""

import asyncio
from datetime import timedelta

import structlog

from shuttle.errors import UnavailableError
from shuttle.lifecycle import Ports
from shuttle.objects.names import artifact_object, log_object, source_object

log = structlog.get_logger()

_EVERY_SECONDS = 3600.0
_AT_ONCE = 100


class Retention:
    """Once an hour; what fails is tried again the next time."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.sweep()
            except UnavailableError as error:
                log.warning("retention is put off", error=error.message)
            await asyncio.sleep(_EVERY_SECONDS)

    async def sweep(self) -> None:
        """Remove the sources and logs of builds that ended before SHUTTLE_KEEP_SOURCES_DAYS and …LOGS_DAYS."""
        settings, now = self._ports.settings, self._ports.now()
        for kind, days, name_of in (
            ("source", settings.shuttle_keep_sources_days, source_object),
            ("log", settings.shuttle_keep_logs_days, log_object),
        ):
            before = now - timedelta(days=days)
            while expired := await self._ports.store.expired(kind, before, limit=_AT_ONCE):
                for build_uuid in expired:
                    await self._ports.objects.delete(name_of(build_uuid))
                    await self._ports.store.forgotten(kind, build_uuid)
        if settings.shuttle_keep_records_days > 0:
            before = now - timedelta(days=settings.shuttle_keep_records_days)
            while expired := await self._ports.store.expired("record", before, limit=_AT_ONCE):
                for build_uuid in expired:
                    await self._drop(build_uuid)

    async def _drop(self, build_uuid: str) -> None:
        """Nothing would lead to its objects any more, so they go before the record does."""
        artifacts = await self._ports.store.artifacts(build_uuid)
        names = [artifact_object(build_uuid, artifact.name) for artifact in artifacts]
        for name in (*names, source_object(build_uuid), log_object(build_uuid)):
            await self._ports.objects.delete(name)
        await self._ports.store.drop_record(build_uuid)
