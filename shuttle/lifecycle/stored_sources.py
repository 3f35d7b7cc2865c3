"""Stored sources of earlier builds, including those of the old shuttle, of which this database has no record."""

import asyncio
from hashlib import sha256
from pathlib import Path

from shuttle.errors import ObjectNotFoundError
from shuttle.lifecycle import Services
from shuttle.objects import ObjectInfo, ObjectStore
from shuttle.objects.local import local_disk
from shuttle.objects.names import source_object
from shuttle.sources import FetchedSource
from shuttle.standing import Standing
from shuttle.store.permitted import check_source


async def find_source(build_uuid: str, objects: ObjectStore) -> tuple[str, ObjectInfo] | None:
    """Name and facts of the source stored under a uuid, in lower case or as written; None = there is none.

    Raises ObjectStoreError.
    """
    for name in dict.fromkeys((source_object(build_uuid.lower()), source_object(build_uuid))):
        info = await objects.head(name)
        if info is not None:
            return name, info
    return None


async def fetch_stored_source(build_uuid: str, standing: Standing, services: Services, into: Path) -> FetchedSource:
    """Copy the source stored under a uuid into a local file, for a build of a caller with this standing.

    Raises:
        TokenNeededError: such a caller may not use it; discard the file. ObjectNotFoundError, ObjectStoreError,
        StoreError, LocalDiskError.
    """
    objects = services.objects
    found = await find_source(build_uuid, objects)
    if found is None:
        raise ObjectNotFoundError("No source is stored under that uuid.")
    name, info = found
    size_bytes, digest = await copy_object(objects, name, into)
    await services.database.run(check_source, build_uuid, standing)
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
