"""Stored sources of earlier builds, including those of the old shuttle, of which this database has no record."""

import asyncio
from hashlib import sha256
from pathlib import Path

import structlog

from shuttle.build import Build
from shuttle.errors import ObjectNotFoundError
from shuttle.lifecycle import Services
from shuttle.objects import ObjectInfo, ObjectStore
from shuttle.objects.local import local_disk
from shuttle.objects.names import source_object
from shuttle.sources import FetchedSource
from shuttle.standing import Standing
from shuttle.store.builds import find_build
from shuttle.store.permitted import check_source

log = structlog.get_logger()


async def find_source(build_uuid: str, services: Services) -> tuple[str, ObjectInfo] | None:
    """Name and facts of the source stored under a uuid, in lower case or as written; None = there is none.

    An object that is known to be another source than the recorded one is not found, either.
    Raises ObjectStoreError, StoreError.
    """
    for name in dict.fromkeys((source_object(build_uuid.lower()), source_object(build_uuid))):
        info = await services.objects.head(name)
        if info is None:
            continue
        if info.sha256 is not None:
            build = await services.database.run(find_build, build_uuid.lower())
            if build is not None and not _is_recorded(build, info.sha256):
                return None
        return name, info
    return None


def check_digest(build: Build, sha256: str) -> None:
    """Check that the object is the source that the record of the build names.

    A replica that has lost the app may still be storing what it fetched. If it ends after the replica that took over
    the app has stored and recorded the source, its object replaces the recorded one.

    Raises ObjectNotFoundError.
    """
    if not _is_recorded(build, sha256):
        log.error("the stored source is not the recorded one", build_uuid=build.build_uuid)
        raise ObjectNotFoundError("The stored source is not the one that was recorded.")


def _is_recorded(build: Build, sha256: str) -> bool:
    return build.source.sha256 in {None, sha256}


async def fetch_stored_source(build_uuid: str, standing: Standing, services: Services, into: Path) -> FetchedSource:
    """Copy the source stored under a uuid into a local file, for a build of a caller with this standing.

    Raises:
        TokenNeededError: such a caller may not use it; discard the file. ObjectNotFoundError, ObjectStoreError,
        StoreError, LocalDiskError.
    """
    found = await find_source(build_uuid, services)
    if found is None:
        raise ObjectNotFoundError("No source is stored under that uuid.")
    name, info = found
    size_bytes, digest = await copy_object(services.objects, name, into)
    await services.database.run(check_source, build_uuid, standing)
    build = await services.database.run(find_build, build_uuid.lower())
    if build is not None:
        check_digest(build, digest)
    return FetchedSource(into, size_bytes, digest, info.content_type)


async def copy_object(objects: ObjectStore, name: str, into: Path) -> tuple[int, str]:
    """Stream an object into a local file; returns its size in bytes and SHA-256 (hex).

    Raises ObjectNotFoundError, ObjectStoreError, LocalDiskError.
    """
    hashed, size_bytes = sha256(), 0
    async with objects.open(name) as opened:
        with local_disk():
            into.parent.mkdir(parents=True, exist_ok=True)
            with into.open("wb") as file:
                async for chunk in opened.chunks:
                    await asyncio.to_thread(file.write, chunk)
                    hashed.update(chunk)
                    size_bytes += len(chunk)
    return size_bytes, hashed.hexdigest()
