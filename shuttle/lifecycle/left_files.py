"""Files that a killed process or another replica's builds have left in SHUTTLE_DATA_DIR."""

import asyncio
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import structlog

from shuttle.lifecycle import Services
from shuttle.lifecycle.stage import local_sources
from shuttle.objects.local import ARTIFACT_PREFIX, DATA_SOURCE_PREFIX, local_disk
from shuttle.store.retain import unarchived_of

log = structlog.get_logger()

_BATCH_SIZE = 100
# Much longer than a request takes.
_ABANDONED_AFTER_SECONDS = 86_400


async def remove_left_sources(services: Services) -> None:
    """Remove local sources of archived builds and of builds without a record.

    The owner of a build removes its own copies when it archives the log. But any replica makes a copy when an agent
    asks it for the source, and so has a replica that lost the app. Raises LocalDiskError, StoreError.
    """
    with local_disk():
        paths = await asyncio.to_thread(local_sources, services)
    build_uuids = list(paths)
    for first in range(0, len(build_uuids), _BATCH_SIZE):
        batch = build_uuids[first : first + _BATCH_SIZE]
        needed = await services.database.run(unarchived_of, batch)
        for build_uuid in batch:
            # While the lock is held, a copy is made for an agent that asked shortly before the end.
            if build_uuid not in needed and not services.signals.source_lock(build_uuid).locked():
                try:
                    await asyncio.to_thread(_remove, paths[build_uuid])
                except Exception:  # one that cannot be removed must not keep the others
                    log.exception("the files of a source cannot be removed", build_uuid=build_uuid)


def remove_left_uploads(services: Services) -> None:
    """Remove artifacts and `data:` sources that a killed process was receiving or storing. Raises LocalDiskError."""
    before = time.time() - _ABANDONED_AFTER_SECONDS
    with local_disk():
        for prefix in (ARTIFACT_PREFIX, DATA_SOURCE_PREFIX):
            # The tempfile module adds eight characters. An operator's `artifact-backup.tar` is not removed.
            for path in services.settings.shuttle_data_dir.glob(f"{prefix}????????"):
                with suppress(OSError):  # a request has just ended and removed it
                    if path.stat().st_mtime < before:
                        path.unlink()


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
