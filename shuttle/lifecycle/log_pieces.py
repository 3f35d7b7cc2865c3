"""Pieces of running logs in the object store: a spool that is lost with its disk is restored from them."""

import asyncio
from contextvars import Context
from weakref import WeakValueDictionary

import structlog

from shuttle.build import Build
from shuttle.errors import ObjectNotFoundError, ObjectStoreError
from shuttle.lifecycle.owned_apps import OwnedApps
from shuttle.lifecycle.piece_writer import PieceWriter, Uploads
from shuttle.logs.library import LogLibrary
from shuttle.logs.spool import Spool
from shuttle.logs.writer import LogWriter
from shuttle.objects import ObjectStore
from shuttle.objects.names import piece_object
from shuttle.store import Database
from shuttle.store.log_pieces import (
    Piece,
    StoredPieces,
    archived_with_pieces,
    forget_pieces,
    registered_pieces,
    stored_pieces,
)

log = structlog.get_logger()

# The S3 client has 16 threads; sources, artifacts and readers need the others.
_UPLOADS_AT_ONCE = 8
_DOWNLOADS_AT_ONCE = 4
_BATCH_SIZE = 100


class LogPieces:
    """The pieces of all logs. With SQLite, whose disk the spools share, nothing is kept (`enabled` is false).

    Used from one event loop.
    """

    def __init__(
        self, database: Database, objects: ObjectStore, library: LogLibrary, owned: OwnedApps, *, enabled: bool
    ) -> None:
        self._database = database
        self._objects = objects
        self._library = library
        self._owned = owned
        self._enabled = enabled
        self._uploads = Uploads(_UPLOADS_AT_ONCE)
        self._downloads = asyncio.Semaphore(_DOWNLOADS_AT_ONCE)
        # By build, the epoch of its app when its spool was restored, or found to be complete.
        self._restored: dict[str, int] = {}
        self._restoring: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def writer(
        self, build: Build, writer: LogWriter, spool: Spool, stored: StoredPieces, context: Context
    ) -> PieceWriter | None:
        """Uploads what `writer` writes, after the pieces that are `stored`; None = pieces are not kept.

        The uploads run in `context`, which names the app and its epoch (shuttle/store/fence.py).
        """
        if not self._enabled:
            return None
        return PieceWriter(
            build.build_uuid,
            spool,
            stored,
            recorded_bytes=len(build.preamble.encode()),
            database=self._database,
            objects=self._objects,
            uploads=self._uploads,
            context=context,
            begin_segment=writer.begin_segment,
        )

    def are_in_spool(self, build: Build) -> bool:
        """Whether `restore` has nothing to do."""
        owned = self._owned.ownership(build.app_id)
        if not self._enabled or build.claimed_at is None or build.archived_at is not None or owned is None:
            return True
        return self._restored.get(build.build_uuid) == owned.epoch

    async def restore(self, build: Build) -> StoredPieces:
        """Write the pieces into the spool if this machine's disk lacks them; returns the pieces that the spool now has.

        A spool that has all recorded bytes is not changed, unless another process has owned the app since the spool
        was written: then all of it is replaced. Nothing is done if this process has restored the spool in the present
        epoch, if it does not own the app, or if the log has been archived since `build` was read.

        Raises:
            ObjectStoreError, StoreError: retry later. SpoolError: the spool cannot be written.
            NotOwnerError: the app was lost meanwhile; the object store may not have answered yet.
        """
        owned = self._owned.ownership(build.app_id)
        if not self._enabled or build.claimed_at is None or build.archived_at is not None or owned is None:
            return StoredPieces()
        lock = self._restoring.setdefault(build.build_uuid, asyncio.Lock())
        async with self._owned.while_owned(build.app_id), lock:
            stored = await self._database.run(stored_pieces, build.build_uuid)
            # Read again, because the owner may have changed meanwhile: a restore for the earlier epoch would delete the
            # bytes that were written since then.
            owned = self._owned.ownership(build.app_id)
            if stored is None or owned is None:
                return StoredPieces()
            if self._restored.get(build.build_uuid) != owned.epoch:
                stored = await self._restore(build, stored, owned.epoch)
                self._restored[build.build_uuid] = owned.epoch
                self._library.write_epoch(build.build_uuid, owned.epoch)
            return stored

    async def delete(self, build_uuid: str) -> None:
        """Delete the pieces of an archived log. Raises ObjectStoreError, StoreError."""
        if self._enabled:
            self._restored.pop(build_uuid, None)
            for piece in await self._database.run(registered_pieces, build_uuid):
                await self._objects.delete(piece_object(build_uuid, piece.offset_bytes, piece.size_bytes))
            await self._database.run(forget_pieces, build_uuid)

    async def delete_left(self) -> None:
        """Delete the pieces that `delete` could not delete. Raises ObjectStoreError, StoreError."""
        while self._enabled and (left := await self._database.run(archived_with_pieces, _BATCH_SIZE)):
            for build_uuid in left:
                await self.delete(build_uuid)

    async def _restore(self, build: Build, stored: StoredPieces, epoch: int) -> StoredPieces:
        spool = self._library.spool(build.build_uuid)
        written_epoch = self._library.read_epoch(build.build_uuid)
        # Outdated: another process has owned the app since this machine wrote the spool. Bytes that were not committed
        # by then are not a part of the log.
        outdated = written_epoch not in {None, epoch - 1, epoch} or (written_epoch is None and bool(stored.pieces))
        if not outdated and (spool.written_bytes >= recorded_bytes(build) or not stored.pieces):
            return _in_order(stored)
        # Bytes on the disk may also be damaged by a power cut, those of the pieces are not.
        spool.hide(0)
        if outdated:
            spool.truncate(0)
        restored = await self._download_all(build.build_uuid, _in_order(stored), spool)
        while restored.end_bytes < _in_order(stored).end_bytes:
            before, newest = stored, await self._database.run(stored_pieces, build.build_uuid)
            stored = newest or StoredPieces()
            if stored == before:
                log.error("a piece of a log is missing", build_uuid=build.build_uuid, kept_bytes=restored.end_bytes)
                break
            # Another process had just replaced the missing piece by a larger one.
            restored = await self._download_all(build.build_uuid, _in_order(stored), spool)
        log.info("a log was restored from its pieces", build_uuid=build.build_uuid, kept_bytes=restored.end_bytes)
        return restored

    async def _download_all(self, build_uuid: str, stored: StoredPieces, spool: Spool) -> StoredPieces:
        """Write the pieces into the spool; returns those before the first missing one."""
        for count, piece in enumerate(stored.pieces):
            if not await self._download(build_uuid, piece, spool):
                return _in_order(StoredPieces(stored.pieces[:count], stored.checkpoint))
            spool.show(piece.end_bytes)
        return stored

    async def _download(self, build_uuid: str, piece: Piece, spool: Spool) -> bool:
        """False = there is no such object."""
        name, offset = piece_object(build_uuid, piece.offset_bytes, piece.size_bytes), piece.offset_bytes
        try:
            async with self._downloads, self._objects.open(name) as opened:
                async for chunk in opened.chunks:
                    spool.restore(offset, chunk)
                    offset += len(chunk)
        except ObjectNotFoundError:
            return False
        if offset != piece.end_bytes:
            received_bytes = offset - piece.offset_bytes
            raise ObjectStoreError(f"The object {name} has {received_bytes} bytes instead of {piece.size_bytes}.")
        return True


def _in_order(stored: StoredPieces) -> StoredPieces:
    """The pieces that make up the log from offset 0 to the first gap, and the checkpoint if they reach it.

    They may overlap: two processes may have kept the same bytes.
    """
    end, pieces = 0, list[Piece]()
    while found := [piece for piece in stored.pieces if piece.offset_bytes <= end < piece.end_bytes]:
        pieces.append(max(found, key=lambda piece: piece.end_bytes))
        end = pieces[-1].end_bytes
    reached = stored.checkpoint is not None and stored.checkpoint.log_offset <= end
    return StoredPieces(pieces, stored.checkpoint if reached else None)


def recorded_bytes(build: Build) -> int:
    """How many bytes the spool has to have, according to the build's record."""
    if build.log_bytes is not None:
        return build.log_bytes - len((build.log_ending or "").encode())
    return build.checkpoint.log_offset if build.checkpoint is not None else len(build.preamble.encode())
