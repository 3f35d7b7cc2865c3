"""Copies files to the bucket: several at a time, and none that is there already with the same size and sum."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shuttle.errors import MoveRefusedError
from shuttle.move import Sum
from shuttle.move.source import Source
from shuttle.objects import FilePart, ObjectInfo
from shuttle.objects.directory_files import file_of, object_files, read_type
from shuttle.objects.local import local_disk
from shuttle.objects.names import artifact_object, legacy_log_object
from shuttle.objects.s3 import S3Store

_AT_ONCE = 8
_PROGRESS_EVERY = 1000
_HASHED_AT_ONCE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Upload:
    """An object to be stored: a file, or a part of it."""

    name: str
    path: Path
    content_type: str
    part: FilePart | None = None


def stored_objects(source: Source) -> Iterator[Upload]:
    """All objects in the data directory; none if the service used a bucket.

    Raises MoveRefusedError if the name of one is unknown.
    """
    root = source.data_dir / "objects"
    named = dict[Path, str]()
    for path, name in object_files(root):
        if name is None and not named:
            named = _long_names(root, source)
        found = name or named.get(path)
        if found is None:
            raise MoveRefusedError(f"The file {path} is the object of no build; remove it.")
        yield Upload(found, path, read_type(path))


def _long_names(root: Path, source: Source) -> dict[Path, str]:
    """The objects, by file, whose names contain ids or names of artifacts: only these can be too long for a file."""
    names = set[str]()
    for build_uuid, app_id, build_id, artifact in source.object_ids():
        names.add(legacy_log_object(app_id, build_id))
        if artifact:
            names.add(artifact_object(build_uuid, artifact))
    return {file_of(root, name): name for name in names}


async def upload_all(
    uploads: Iterable[Upload], store: S3Store, on_progress: Callable[[int], None] = lambda _: None
) -> tuple[Sum, Sum]:
    """Store the objects; returns the sums of the files, and of the objects as the bucket has them.

    `on_progress` is called with the number of stored objects, from time to time.

    Raises ObjectStoreError, LocalDiskError.
    """
    waiting = iter(uploads)
    here, there = _ObjectSum(), _ObjectSum()

    async def work() -> None:
        for upload in waiting:
            size_bytes, sha256 = await asyncio.to_thread(_digest, upload)
            here.add(upload.name, size_bytes, sha256)
            found = await _stored(upload, size_bytes, sha256, store)
            there.add(upload.name, found.size_bytes, found.sha256 or "")
            if there.count % _PROGRESS_EVERY == 0:
                on_progress(there.count)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(work())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return here.value, there.value


async def _stored(upload: Upload, size_bytes: int, sha256: str, store: S3Store) -> ObjectInfo:
    found = await store.head(upload.name)
    if found is not None and (found.size_bytes, found.sha256) == (size_bytes, sha256):
        return found
    if upload.part is None:
        await store.put(upload.name, upload.path, content_type=upload.content_type, sha256=sha256)
    else:
        await store.put_part(upload.name, upload.path, upload.part, content_type=upload.content_type, sha256=sha256)
    return await store.head(upload.name) or ObjectInfo(0, "")


class _ObjectSum:
    """Counts objects. The digest is the sum of all objects' digests, so that their order does not matter."""

    def __init__(self) -> None:
        self.count = 0
        self._size_bytes = 0
        self._digests = 0

    def add(self, name: str, size_bytes: int, sha256: str) -> None:
        self.count += 1
        self._size_bytes += size_bytes
        line = f"{name} {size_bytes} {sha256}\n"
        self._digests += int.from_bytes(hashlib.sha256(line.encode()).digest(), "big")

    @property
    def value(self) -> Sum:
        return Sum(self.count, f"{self._digests % 2**256:064x}", self._size_bytes)


def _digest(upload: Upload) -> tuple[int, str]:
    """Size and SHA-256 (hex) of the object's bytes."""
    hashed, size_bytes = hashlib.sha256(), 0
    with local_disk(), upload.path.open("rb") as file:
        left_bytes = upload.path.stat().st_size if upload.part is None else upload.part.size_bytes
        file.seek(0 if upload.part is None else upload.part.start)
        while block := file.read(min(left_bytes, _HASHED_AT_ONCE_BYTES)):
            hashed.update(block)
            size_bytes += len(block)
            left_bytes -= len(block)
    return size_bytes, hashed.hexdigest()
