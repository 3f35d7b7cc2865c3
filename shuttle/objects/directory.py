"""The object store in a directory, which is used if S3_BUCKET is not set."""

import asyncio
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import uuid4

from shuttle.errors import ObjectNotFoundError, ObjectStoreError
from shuttle.objects import FilePart, ObjectInfo, OpenObject
from shuttle.objects.directory_files import INCOMING, file_of, read_type, type_path

_T = TypeVar("_T")

_THREADS = 4
_CHUNK_BYTES = 256 * 1024
# Longer than writing any file takes. Another process (`shuttle doctor`) may be writing at the same time.
_ABANDONED_AFTER_SECONDS = 86_400


class DirectoryStore:
    """Implements ObjectStore in the directory `root`, which is created when it is first needed.

    The object `u` is the file `u`, and `u/artifacts/a.txt` is the file `u+/artifacts+/a.txt`, with its type beside it
    in `a.txt=type`. No object's name contains `+` or `=`, so an object and objects below its name can both exist. A new
    object is written elsewhere in `root`, synced, and renamed, its type first: after a crash it is complete or absent.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / INCOMING
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="objects")
        # Keeps a directory that has become empty from being removed while a new object is renamed into it.
        self._tree = threading.Lock()

    async def put(self, name: str, path: Path, *, content_type: str, sha256: str = "") -> None:  # noqa: ARG002
        """See ObjectStore. The checksum is not kept, because somebody may edit the file."""
        target = self.path_of(name)
        with path.open("rb") as source:
            await self._in_thread("written", lambda: self._put(target, self._synced_link(path, source), content_type))

    async def put_part(self, name: str, path: Path, part: FilePart, *, content_type: str) -> None:
        """See ObjectStore."""
        target = self.path_of(name)
        with path.open("rb") as source:
            await self._in_thread("written", lambda: self._put(target, self._synced_part(source, part), content_type))

    @asynccontextmanager
    async def open(self, name: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[OpenObject]:
        """See ObjectStore."""
        path = self.path_of(name)
        # Not in a thread: if the caller were cancelled, the thread would leave the file open.
        with _translate_errors(self._root, "read"):
            file, info = _open(path)
        with file:
            end = info.size_bytes if length is None else min(start + length, info.size_bytes)
            yield OpenObject(info.size_bytes, info.content_type, self._chunks(file, start, end))

    async def head(self, name: str) -> ObjectInfo | None:
        """See ObjectStore."""
        path = self.path_of(name)
        return await self._in_thread("read", lambda: _head(path))

    async def delete(self, name: str) -> None:
        """See ObjectStore."""
        path = self.path_of(name)
        await self._in_thread("written", lambda: self._delete(path))

    async def check(self) -> None:
        """See ObjectStore."""
        await self._in_thread("written", self._check)

    async def close(self) -> None:
        """See ObjectStore. Waits for the threads: one that still ran could recreate `root` after its removal."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    def path_of(self, name: str) -> Path:
        """The file of the object of that name."""
        return file_of(self._root, name)

    async def _in_thread(self, action: str, work: Callable[[], _T]) -> _T:
        with _translate_errors(self._root, action):
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _chunks(self, file: BinaryIO, start: int, end: int) -> AsyncIterator[bytes]:
        while start < end:
            wanted = min(_CHUNK_BYTES, end - start)
            chunk = await self._in_thread("read", partial(os.pread, file.fileno(), wanted, start))
            if not chunk:
                raise ObjectStoreError(f"An object in {self._root} became shorter while it was read.")
            start += len(chunk)
            yield chunk

    def _put(self, target: Path, content: AbstractContextManager[Path], content_type: str) -> None:
        """Enter `content` once the directories exist, and rename its file to `target`."""
        self._prepare()
        with content as written, self._new_file() as (type_file, type_written):
            type_file.write(content_type.encode())
            _sync(type_file)
            with self._tree:
                target.parent.mkdir(parents=True, exist_ok=True)
                type_written.replace(type_path(target))
                written.replace(target)
        _sync_directory(target.parent)
        for directory in target.parent.relative_to(self._root).parents:
            _sync_directory(self._root / directory)

    @contextmanager
    def _synced_part(self, source: BinaryIO, part: FilePart) -> Iterator[Path]:
        """A synced file in `root` with this part of the open file `source`."""
        with self._new_file() as (file, written):
            source.seek(part.start)
            left_bytes = part.size_bytes
            while block := source.read(min(left_bytes, _CHUNK_BYTES)):
                file.write(block)
                left_bytes -= len(block)
            _sync(file)
            yield written

    @contextmanager
    def _synced_link(self, path: Path, source: BinaryIO) -> Iterator[Path]:
        """A synced file in `root` with the bytes of `source`, which is the open file at `path`.

        It is a hard link, which costs neither time nor space. The bytes are copied only if no hard link is possible:
        the file system has none, the file is on another one, or `path` is a symlink.
        """
        written = self._incoming / uuid4().hex
        try:
            if _link(path, written):
                os.fsync(source.fileno())
            else:
                with written.open("xb") as file:
                    shutil.copyfileobj(source, file, 1024 * 1024)
                    _sync(file)
            yield written
        finally:
            written.unlink(missing_ok=True)

    @contextmanager
    def _new_file(self) -> Iterator[tuple[BinaryIO, Path]]:
        path = self._incoming / uuid4().hex
        try:
            with path.open("xb") as file:
                yield file, path
        finally:
            path.unlink(missing_ok=True)

    def _delete(self, path: Path) -> None:
        with self._tree:
            path.unlink(missing_ok=True)
            type_path(path).unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self._root:
                    break
                with suppress(OSError):
                    folder.rmdir()

    def _prepare(self) -> None:
        """Create the directories, private because sources are not public; delete files that a killed process left."""
        if not self._incoming.exists():
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._incoming.mkdir(exist_ok=True)
            _sync_directory(self._root)
            _sync_directory(self._root.parent)
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError):  # another process has just renamed it
                # Not st_mtime: a hard link has the modification time of the original file, which may be old.
                if path.stat().st_ctime < time.time() - _ABANDONED_AFTER_SECONDS:
                    path.unlink()

    def _check(self) -> None:
        self._prepare()
        with self._new_file() as (file, _):
            file.write(b"can be written")
            _sync(file)


def _link(path: Path, hard_link: Path) -> bool:
    """Create a hard link to the file; False = not possible. A hard link to a symlink would not be one to its file."""
    if path.is_symlink():
        return False
    try:
        hard_link.hardlink_to(path)
    except OSError:
        return False
    return True


def _open(path: Path) -> tuple[BinaryIO, ObjectInfo]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise ObjectNotFoundError("There is no such object.") from None
    return file, ObjectInfo(os.fstat(file.fileno()).st_size, read_type(path))


def _head(path: Path) -> ObjectInfo | None:
    try:
        return ObjectInfo(path.stat().st_size, read_type(path))
    except FileNotFoundError:
        return None


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translate_errors(root: Path, action: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ObjectStoreError(
            f"The object directory {root} cannot be {action} ({error.strerror or error});"
            " free disk space or correct its permissions."
        ) from error
