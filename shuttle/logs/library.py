"""The library: where the log of any build is found, as a growing spool or in the archive."""

from pathlib import Path

from shuttle.build import Build
from shuttle.logs import LogReader
from shuttle.logs.archive import ArchivedLog
from shuttle.logs.spool import Spool
from shuttle.objects import ObjectStore
from shuttle.objects.names import log_object


class LogLibrary:
    """Hands out one Spool a build, so that its writer wakes all its readers. Used from one event loop."""

    def __init__(self, folder: Path, objects: ObjectStore) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._objects = objects
        self._spools: dict[str, Spool] = {}
        # Of spools that a former process left and nobody has opened since: up to where a checkpoint vouches for them.
        self._vouched_bytes: dict[str, int] = {}

    def spool(self, build_uuid: str) -> Spool:
        """The build's spool, opened or created. Raises SpoolError."""
        spool = self._spools.get(build_uuid)
        if spool is None:
            spool = Spool(self._path(build_uuid))
            if build_uuid in self._vouched_bytes:
                vouched_bytes = self._vouched_bytes[build_uuid]
                spool.truncate(vouched_bytes if spool.size_bytes >= vouched_bytes else 0)
                del self._vouched_bytes[build_uuid]
            self._spools[build_uuid] = spool
        return spool

    def reader(self, build: Build) -> LogReader:
        """The build's log; of an archived build the archive, unless the spool is still at hand."""
        if build.archived_at is not None and build.build_uuid not in self._spools:
            return ArchivedLog(self._objects, log_object(build.build_uuid), build.log_bytes or 0)
        return self.spool(build.build_uuid)

    def recover(self, build: Build) -> None:
        """After a restart, before anybody reads: keep of the spool only what a checkpoint vouches for.

        A killed process leaves more, which is right as far as it goes; a lost machine may leave anything beyond. It is
        cut when it is opened, so that a disk which fails is the trouble of this build and not of the start.
        """
        at = build.checkpoint
        self._vouched_bytes[build.build_uuid] = len(build.preamble.encode()) if at is None else at.log_offset

    def size_bytes(self, build: Build) -> int:
        """How much of an unfinished build's log there is."""
        path = self._path(build.build_uuid)
        spool = self._spools.get(build.build_uuid)
        if spool is not None:
            return spool.size_bytes
        size_bytes = path.stat().st_size if path.exists() else 0
        return min(size_bytes, self._vouched_bytes.get(build.build_uuid, size_bytes))

    def forget(self, build_uuid: str) -> None:
        """Remove the spool; whoever reads it now reads on to its end."""
        self._vouched_bytes.pop(build_uuid, None)
        if self._spools.pop(build_uuid, None) is not None or self._path(build_uuid).exists():
            self._path(build_uuid).unlink(missing_ok=True)

    def _path(self, build_uuid: str) -> Path:
        return self._folder / f"{build_uuid}.log"
