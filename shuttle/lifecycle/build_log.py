"""The log of a running build: pushed bytes are transformed, committed, and then shown to readers."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from datetime import datetime

import structlog

from shuttle.build import FinalLog
from shuttle.errors import NotOwnerError, StoreError, UnavailableError
from shuttle.lifecycle.piece_writer import PieceWriter
from shuttle.logs.archive import GrowingDigest
from shuttle.logs.spool import Spool, SpoolError
from shuttle.logs.stage_places import StageMark, StagePlace
from shuttle.logs.transform import LOG_CUT
from shuttle.logs.writer import LogWriter
from shuttle.store import Database
from shuttle.store.claims import Claim
from shuttle.store.log_segments import record_log

log = structlog.get_logger()

# What a supervisor is sent in place of a StopCause if its build is over.
OVER = "over"
# After this time, the part of an unfinished line that later bytes cannot change is written.
_UNFINISHED_SECONDS = 0.5
# With more written but uncommitted text than this, pushes wait for the database.
_MAX_UNSHOWN_BYTES = 16 * 1024 * 1024
_STORE_PAUSE_SECONDS = 0.5
# Longer than a busy disk takes, and less than the 30 s after which a supervisor repeats its push (log.sh).
_DURABLE_SECONDS = 20.0
# With more new text than this, commits are at least _COMMIT_PAUSE_SECONDS apart: one commit costs as much as
# transforming 150 KiB (measured), and readers of a fast log see it no later.
_FAST_LOG_BYTES = 64 * 1024
_COMMIT_PAUSE_SECONDS = 0.04
# A large log is hashed and synced while it grows, so that its end waits neither for a second reading nor for a slow
# disk.
_HASH_BATCH_BYTES = 8 * 1024 * 1024


def own_stream(branch: str) -> str:
    """The stream of a supervisor's own log: that of its branch, or `main`."""
    return branch or "main"


class BuildLog:
    """Writes and commits one log. Used from one event loop.

    `claims` are all attempts of the build's steps; `last_call_at` is the time of a supervisor's newest call, on the
    loop's clock. `stop_cause` is sent to supervisors with the answer to their next push; `broken` is the error after
    which nothing more can be written to the spool. `lost` = another replica has taken the app, so no push may be
    acknowledged any more.
    """

    def __init__(
        self,
        build_uuid: str,
        writer: LogWriter,
        spool: Spool,
        database: Database,
        pieces: PieceWriter | None = None,
        *,
        claims: Sequence[Claim],
        context: Context,
        on_broken: Callable[[], None],
    ) -> None:
        """`context` is that of the app's owner; `on_broken` is called once, when the spool can no longer be used.

        With `pieces`, what is durable is in the object store, too.
        """
        self.build_uuid = build_uuid
        self.claims: Sequence[Claim] = ()
        self._by_run_token: Mapping[str, Claim] = {}
        self.last_call_at = asyncio.get_running_loop().time()
        self.stop_cause: str | None = None
        self.time_limit_at: datetime | None = None
        self.broken: SpoolError | None = None
        self.closed = False
        self.lost = False
        self._context = context
        self._on_broken = on_broken
        self._writer = writer
        self._spool = spool
        self._database = database
        self._pieces = pieces
        # The offset of the newest checkpoint that is recorded.
        self._recorded_bytes = writer.offset
        # Places of stages that are not recorded yet.
        self._places: list[StagePlace] = []
        self._commit: asyncio.Task[None] | None = None
        self._shown = asyncio.Event()
        self._commit_wanted = asyncio.Event()
        self._unfinished_check: asyncio.TimerHandle | None = None
        self._digest = GrowingDigest(spool.path)
        self._hashing: asyncio.Task[None] | None = None
        self.use_claims(claims)

    def use_claims(self, claims: Sequence[Claim]) -> None:
        """Replace `claims`. An ended attempt cannot send its bytes again, so a replay does not wait for them."""
        self.claims = claims
        self._by_run_token = {claim.run_digest: claim for claim in reversed(claims)}  # the first one counts
        if self.broken is not None or self.closed:
            return
        try:
            for claim in claims:
                if claim.voided_at is not None:
                    self._writer.supersede(claim.claim_id)
                elif claim.exit_status is not None:
                    self._writer.give_up(claim.claim_id)
        except SpoolError as error:
            self._break(error)
        else:
            self._schedule_commit()

    def claim_of_run_token(self, digest: str) -> Claim | None:
        """The attempt whose run token has this digest; the lookup costs the same for any number of attempts."""
        return self._by_run_token.get(digest)

    def superseded(self, claim: Claim) -> bool:
        """Whether a newer attempt of the step has replaced this one, whose pushes are then refused."""
        return any(known.claim_id == claim.claim_id and known.voided_at is not None for known in self.claims)

    # --- what supervisors send

    def wanted(self, claim: Claim, stream: str) -> int:
        """The raw offset from which the stream is wanted. Raises ConflictError if the build has too many streams."""
        return self._writer.wanted((claim.claim_id, stream), claim.branch)

    def take(self, claim: Claim, stream: str, offset: int, raw: bytes) -> int:
        """Take raw bytes that begin at `offset`; returns the offset that is wanted next.

        If the log is broken or closed, the bytes are dropped but acknowledged: the answer has to reach the supervisor,
        because it contains the stop.
        """
        if self.broken is not None or self.closed:
            return offset + len(raw)
        try:
            wanted = self._writer.take((claim.claim_id, stream), claim.branch, offset, raw)
        except SpoolError as error:
            self._break(error)
            return offset + len(raw)
        self._schedule_commit()
        return wanted

    def mark_stage(self, claim: Claim, mark: StageMark) -> None:
        """A stage of the claim's own stream begins or ends at the mark: its place is recorded with the log's bytes."""
        if self.broken is None and not self.closed:
            self._writer.mark_stage((claim.claim_id, own_stream(claim.branch)), claim.branch, mark)
            self._schedule_commit()

    async def wait_for_room(self) -> None:
        """Return once at most 16 MiB are written but uncommitted, or the log is broken or lost."""
        while self._writer.offset - self._spool.size_bytes > _MAX_UNSHOWN_BYTES and not (self.broken or self.lost):
            await self._next_commit()

    async def end_stream(self, claim: Claim, stream: str) -> None:
        """End the stream; returns once all of it is durable.

        Raises:
            NotOwnerError: another replica has taken the app.
            UnavailableError: a replay of a lost log is not complete, or the disk, the database or the object store is
                too slow: the caller has to send the end again. StoreError: the database failed. ObjectStoreError: the
                object store failed.
        """
        self._raise_if_lost()
        if self.broken is not None or self.closed:
            return
        try:
            self._writer.finish_stream((claim.claim_id, stream), claim.branch)
            async with asyncio.timeout(_DURABLE_SECONDS):
                await self._make_durable()
                await self.keep()
        except SpoolError as error:
            self._break(error)
        except TimeoutError:
            message = "The database, the disk or the object store did not store the log in time."
            raise UnavailableError(message) from None

    async def _make_durable(self) -> None:
        """Return once everything written so far is committed, shown and on the disk."""
        self._schedule_commit()
        if self._writer.replaying:
            raise UnavailableError("A lost log is being written again in its old order; other streams come first.")
        while self._uncommitted:
            self._raise_if_lost()
            await self._next_commit()
        await self._spool.sync()

    async def keep(self) -> None:
        """Return once all committed bytes are in the object store, beside PostgreSQL; call it after `close`, too.

        Raises UnavailableError if a try has failed, and SpoolError.
        """
        if self._pieces is not None and self.broken is None:
            await self._pieces.kept(self._recorded_bytes)

    def forget_pieces(self) -> None:
        """Stop uploading: the log is archived from now on."""
        if self._pieces is not None:
            self._pieces.cancel()

    async def close(self) -> None:
        """Accept nothing more; write, commit and show the rest. Idempotent. Raises StoreError."""
        self.closed = True
        if self._unfinished_check is not None:
            self._unfinished_check.cancel()
        if self.broken is None:
            try:
                self._writer.finish()
                await self._make_durable()
            except SpoolError as error:
                self._break(error)

    async def final(self, lines: Sequence[str]) -> FinalLog:
        """Size and checksum of the closed log with `lines` appended; nothing is written. Raises SpoolError.

        A line that is already at the end of the log is left out: pipelines write their reason themselves.
        """
        written = self._spool.ending()
        last_lines = b"\n" + written
        new = [text for text in lines if text and b"\n" + text.encode() not in last_lines]
        ending = b"" if written.endswith(LOG_CUT) else self._writer.ending(new)
        if self._hashing is not None:
            await self._hashing
        await asyncio.to_thread(self._digest.advance)
        return FinalLog(*self._digest.followed_by(ending), ending.decode())

    def abandon(self) -> None:
        """Drop uncommitted text at shutdown; the next process requests it from the agents again."""
        self.closed = True
        self.forget_pieces()
        if self._unfinished_check is not None:
            self._unfinished_check.cancel()
        for task in (self._commit, self._hashing):
            if task is not None:
                task.cancel()

    def lose(self) -> None:
        """Another replica has taken the app: it requests from the agents what is not committed."""
        self.lost = True
        self.abandon()
        self._wake()

    def _raise_if_lost(self) -> None:
        if self.lost:
            raise NotOwnerError

    # --- commits

    @property
    def _uncommitted(self) -> bool:
        """Whether text or the place of a stage waits for a commit, or pieces for a checkpoint.

        Text of a replay is shown without a checkpoint.
        """
        if self._writer.offset > self._spool.size_bytes or self._places or self._writer.found_places:
            return True
        return self._pieces is not None and self._recorded_bytes < self._writer.offset and not self._writer.replaying

    def _schedule_commit(self) -> None:
        """Start a commit if there is uncommitted text, and the timer for an unfinished line."""
        if self.lost:
            return
        if self._commit is None and self._uncommitted:
            name = f"log of {self.build_uuid}"
            self._commit = asyncio.create_task(self._commit_all(), name=name, context=self._context.copy())
        if self._unfinished_check is None and not self.closed and self._writer.holds_text:
            self._unfinished_check = asyncio.get_running_loop().call_later(_UNFINISHED_SECONDS, self._write_unfinished)

    def _write_unfinished(self) -> None:
        self._unfinished_check = None
        if self.broken is not None or self.closed:
            return
        try:
            self._writer.idle()
        except SpoolError as error:
            self._break(error)
            return
        self._schedule_commit()

    async def _commit_all(self) -> None:
        """Commit and show until nothing is left; text that was written during a commit shares the next one."""
        try:
            while self._uncommitted:
                if self._writer.offset - self._spool.size_bytes > _FAST_LOG_BYTES:
                    await self._wait_between_commits()
                await self._commit_once()
        except NotOwnerError:
            self.lose()
        except Exception:  # a bug must not lose the log: log the error and try again
            log.exception("a log could not be recorded", build_uuid=self.build_uuid)
            await asyncio.sleep(_STORE_PAUSE_SECONDS)
        finally:
            self._commit = None
            self._wake()

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
                await self._database.run(record_log, self.build_uuid, segments, checkpoint, self._places[:recorded])
            except StoreError as error:
                self._writer.restore(segments)
                log.warning("a log waits for the database", build_uuid=self.build_uuid, error=error.message)
                await asyncio.sleep(_STORE_PAUSE_SECONDS)
                return
            del self._places[:recorded]
            self._recorded_bytes = offset
        self._spool.show(offset)
        if self._pieces is not None:
            self._pieces.note(offset, changes[1] if changes is not None else None)
        self._wake()
        if self._hashing is None and offset - self._digest.size_bytes >= _HASH_BATCH_BYTES:
            self._hashing = asyncio.create_task(self._hash_until(offset), name=f"digest of {self.build_uuid}")

    async def _hash_until(self, until: int) -> None:
        """Hash and sync the bytes up to `until`, which are shown and so never change."""
        try:
            with suppress(SpoolError):  # `final` raises it again
                await asyncio.to_thread(self._digest.advance, until)
                await self._spool.sync()
        finally:
            self._hashing = None

    async def _next_commit(self) -> None:
        self._commit_wanted.set()
        self._schedule_commit()
        await self._shown.wait()

    def _wake(self) -> None:
        shown, self._shown = self._shown, asyncio.Event()
        shown.set()

    def _break(self, error: SpoolError) -> None:
        self.broken = error
        self._wake()
        self._on_broken()
