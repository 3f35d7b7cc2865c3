"""Commits what was written to a build's log, and shows it to readers only then."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context

import structlog

from shuttle.errors import NotOwnerError, StoreError, UnavailableError
from shuttle.lifecycle.piece_writer import PieceWriter
from shuttle.logs.archive import GrowingDigest
from shuttle.logs.spool import Spool, SpoolError
from shuttle.logs.stage_places import StagePlace
from shuttle.logs.writer import LogWriter
from shuttle.store import Database
from shuttle.store.log_segments import record_log

log = structlog.get_logger()

_STORE_PAUSE_SECONDS = 0.5
# If more new text than this waits, commits are at least _COMMIT_PAUSE_SECONDS apart. One commit costs as much time as
# transforming 150 KiB (measured), so more frequent commits would not show a fast log sooner.
_FAST_LOG_BYTES = 64 * 1024
_COMMIT_PAUSE_SECONDS = 0.04
# A large log is hashed and synced while it grows, so that its end waits neither for a second reading nor for a slow
# disk.
_HASH_BATCH_BYTES = 8 * 1024 * 1024


class LogCommits:
    """Commits one log, one transaction at a time. `lost` = another replica has taken the app: nothing is committed."""

    def __init__(
        self,
        build_uuid: str,
        writer: LogWriter,
        spool: Spool,
        database: Database,
        pieces: PieceWriter | None,
        *,
        context: Context,
        on_lost: Callable[[], None],
    ) -> None:
        """`context` is that of the app's owner; `on_lost` is called when a commit finds that there is a new owner.

        With `pieces`, what is committed is also stored in the object store.
        """
        self.lost = False
        self._build_uuid = build_uuid
        self._writer = writer
        self._spool = spool
        self._database = database
        self._pieces = pieces
        self._context = context
        self._on_lost = on_lost
        # The offset of the newest checkpoint that is recorded.
        self._recorded_bytes = writer.offset
        # Places of stages that are not recorded yet.
        self._places: list[StagePlace] = []
        self._commit: asyncio.Task[None] | None = None
        self._shown = asyncio.Event()
        self._commit_wanted = asyncio.Event()
        self._digest = GrowingDigest(spool.path)
        self._hashing: asyncio.Task[None] | None = None

    # --- for the log

    @property
    def hidden_bytes(self) -> int:
        """The size of the text that is written, but not shown yet."""
        return self._writer.offset - self._spool.size_bytes

    def schedule(self) -> None:
        """Start a commit if something is uncommitted."""
        if self._commit is None and self._uncommitted and not self.lost:
            name = f"log of {self._build_uuid}"
            self._commit = asyncio.create_task(self._commit_all(), name=name, context=self._context.copy())

    async def next(self) -> None:
        """Ask for a commit at once, and return after it, or after a failed one."""
        self._commit_wanted.set()
        self.schedule()
        await self._shown.wait()

    async def make_durable(self) -> None:
        """Return once everything written so far is committed, shown and on the disk."""
        self.schedule()
        if self._writer.replaying:
            raise UnavailableError(
                "A lost log is being written again in its recorded order, and needs bytes of other streams first."
            )
        while self._uncommitted:
            self.raise_if_lost()
            await self.next()
        await self._spool.sync()

    async def keep(self) -> None:
        """Return once all committed bytes are in the object store; without `pieces`, at once.

        Raises UnavailableError if a try has failed, SpoolError if the spool is gone, and NotOwnerError.
        """
        if self._pieces is not None:
            await self._pieces.kept(self._recorded_bytes)

    async def digest(self) -> GrowingDigest:
        """The digest of the whole log; call it once nothing more is written. Raises SpoolError."""
        if self._hashing is not None:
            await self._hashing
        await asyncio.to_thread(self._digest.advance)
        return self._digest

    def forget_pieces(self) -> None:
        """Stop uploading pieces: the build is final, or this process no longer writes the log."""
        if self._pieces is not None:
            self._pieces.cancel()

    def lose(self) -> None:
        """Commit nothing more, because another replica has taken the app or this process ends."""
        self.lost = True
        self.forget_pieces()
        for task in (self._commit, self._hashing):
            if task is not None:
                task.cancel()
        self.wake()

    def raise_if_lost(self) -> None:
        """Raises NotOwnerError if another replica has taken the app."""
        if self.lost:
            raise NotOwnerError

    def wake(self) -> None:
        """Wake the tasks that wait for a commit, so that they check again."""
        shown, self._shown = self._shown, asyncio.Event()
        shown.set()

    # --- the commits

    @property
    def _uncommitted(self) -> bool:
        """Whether text, the place of a stage or (with pieces) a checkpoint is not committed yet.

        Text of a replay is shown without a checkpoint. When the replay is over, pieces need a checkpoint.
        """
        if self.hidden_bytes > 0 or self._places or self._writer.found_places:
            return True
        return self._pieces is not None and self._recorded_bytes < self._writer.offset and not self._writer.replaying

    async def _commit_all(self) -> None:
        """Commit and show until nothing is left; text that was written during a commit shares the next one."""
        try:
            while self._uncommitted:
                if self.hidden_bytes > _FAST_LOG_BYTES:
                    await self._wait_between_commits()
                await self._commit_once()
        except NotOwnerError:
            self._on_lost()
        except Exception:  # a bug must not lose the log: log the error and try again
            log.exception("a log could not be recorded", build_uuid=self._build_uuid)
            await asyncio.sleep(_STORE_PAUSE_SECONDS)
        finally:
            self._commit = None
            self.wake()

    async def _wait_between_commits(self) -> None:
        """Let more text join the next commit, unless a caller waits for that commit."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_COMMIT_PAUSE_SECONDS):
                await self._commit_wanted.wait()

    async def _commit_once(self) -> None:
        self._commit_wanted.clear()
        offset, changes = self._writer.offset, self._writer.changes()
        if changes is not None:
            segments, checkpoint = changes
            self._places += self._writer.places()
            recorded = len(self._places)
            try:
                await self._database.run(record_log, self._build_uuid, segments, checkpoint, self._places[:recorded])
            except StoreError as error:
                self._writer.restore(segments)
                log.warning("a log waits for the database", build_uuid=self._build_uuid, error=error.message)
                await asyncio.sleep(_STORE_PAUSE_SECONDS)
                return
            del self._places[:recorded]
            self._recorded_bytes = offset
        self._spool.show(offset)
        if self._pieces is not None:
            self._pieces.note(offset, changes[1] if changes is not None else None)
        self.wake()
        if self._hashing is None and offset - self._digest.size_bytes >= _HASH_BATCH_BYTES:
            self._hashing = asyncio.create_task(self._hash_until(offset), name=f"digest of {self._build_uuid}")

    async def _hash_until(self, until: int) -> None:
        """Hash and sync the bytes up to `until`, which are shown and so never change."""
        try:
            with suppress(SpoolError):  # `digest` raises it again
                await asyncio.to_thread(self._digest.advance, until)
                await self._spool.sync()
        finally:
            self._hashing = None
