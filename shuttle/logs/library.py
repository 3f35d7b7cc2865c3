"""Finds the log of a build: its spool on the local disk, or the archive in the object store."""

from pathlib import Path

import structlog

from shuttle.build import Build
from shuttle.logs import LogReader
from shuttle.logs.archive import ArchivedLog, LogBlocks
from shuttle.logs.spool import Spool, spool_error
from shuttle.objects import ObjectStore
from shuttle.objects.names import log_object

log = structlog.get_logger()


class LogLibrary:
    """Keeps one Spool for each build, so that its writer wakes all its readers. Used from one event loop."""

    def __init__(self, folder: Path, objects: ObjectStore, *, memory_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._blocks = LogBlocks(objects, memory_bytes)
        self._spools: dict[str, Spool] = {}
        # The size that the checkpoint confirms, for spools of an earlier process that have not been opened yet.
        self._confirmed_bytes: dict[str, int] = {}

    def spool(self, build_uuid: str) -> Spool:
        """The build's spool, opened or created. Raises SpoolError."""
        spool = self._spools.get(build_uuid)
        if spool is None:
            spool = Spool(self._path(build_uuid))
            if build_uuid in self._confirmed_bytes:
                confirmed_bytes = self._confirmed_bytes[build_uuid]
                if spool.written_bytes >= confirmed_bytes:
                    spool.truncate(confirmed_bytes)
                else:
                    spool.hide(0)
                del self._confirmed_bytes[build_uuid]
            self._spools[build_uuid] = spool
        return spool

    def reader(self, build: Build) -> LogReader:
        """The build's spool; if the build is archived, its archive unless the spool is open and complete.

        If the open spool of an archived build is not complete, another process has archived the log, and the spool
        stays incomplete. Raises SpoolError.
        """
        spool = self._spools.get(build.build_uuid)
        if build.archived_at is not None and (spool is None or not spool.complete):
            return self.archived(log_object(build.build_uuid), build.log_bytes or 0)
        return self.spool(build.build_uuid)

    def archived(self, name: str, size_bytes: int) -> ArchivedLog:
        """The archived log in the object `name`."""
        return ArchivedLog(self._blocks, name, size_bytes)

    def recover(self, build: Build) -> None:
        """Keep only the bytes that a checkpoint confirms; call it after a restart, before the first reader.

        A killed process leaves more bytes. A power cut may leave fewer: then the agents send the log again, and the
        spool's bytes are hidden from readers until they have been compared with it, or until the log ends. The file is
        cut when it is opened, so that a broken disk fails this build and not the start of the service.
        """
        at = build.checkpoint
        self._confirmed_bytes[build.build_uuid] = len(build.preamble.encode()) if at is None else at.log_offset

    def read_epoch(self, build_uuid: str) -> int | None:
        """The epoch of the app in which the spool on this disk was written; None = unknown."""
        try:
            return int(self._epoch_path(build_uuid).read_text())
        except (OSError, ValueError):
            return None

    def write_epoch(self, build_uuid: str, epoch: int) -> None:
        """Record that the spool is written in this epoch of the app. Raises SpoolError."""
        try:
            self._epoch_path(build_uuid).write_text(str(epoch))
        except OSError as error:
            raise spool_error("written", error) from error

    def size_bytes(self, build: Build) -> int:
        """The size of an unfinished build's log."""
        path = self._path(build.build_uuid)
        spool = self._spools.get(build.build_uuid)
        if spool is not None:
            return spool.size_bytes
        size_bytes = path.stat().st_size if path.exists() else 0
        return min(size_bytes, self._confirmed_bytes.get(build.build_uuid, size_bytes))

    def on_disk(self) -> list[str]:
        """Uuids of the builds whose spools are on the disk."""
        return [path.stem for path in self._folder.glob("*.log")]

    def has_open(self, build_uuid: str) -> bool:
        """Whether this process has opened the spool."""
        return build_uuid in self._spools

    def forget(self, build_uuid: str) -> None:
        """Remove the spool. Readers that have it open can read on. What cannot be removed now is left for retention."""
        self._confirmed_bytes.pop(build_uuid, None)
        self._spools.pop(build_uuid, None)
        for path in (self._path(build_uuid), self._epoch_path(build_uuid)):
            try:
                path.unlink()
            except (FileNotFoundError, NotADirectoryError):  # the folder may be lost, too
                pass
            except OSError as error:
                log.warning("a spool cannot be removed", build_uuid=build_uuid, error=str(error))

    def _epoch_path(self, build_uuid: str) -> Path:
        return self._folder / f"{build_uuid}.epoch"

    def _path(self, build_uuid: str) -> Path:
        return self._folder / f"{build_uuid}.log"
