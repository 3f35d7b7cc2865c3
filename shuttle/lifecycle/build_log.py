"""The log of a running build: what its supervisors push is written, and then committed (see `log_commits`)."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from datetime import datetime

import structlog

from shuttle.build import FinalLog
from shuttle.errors import UnavailableError
from shuttle.lifecycle.log_commits import LogCommits
from shuttle.lifecycle.piece_writer import PieceWriter
from shuttle.logs.spool import Spool, SpoolError
from shuttle.logs.stage_places import StageMark
from shuttle.logs.transform import LOG_CUT
from shuttle.logs.writer import LogWriter
from shuttle.store import Database
from shuttle.store.claims import Claim

log = structlog.get_logger()

# What a supervisor is sent in place of a StopCause if its build is over.
OVER = "over"
# After this time, the part of an unfinished line that later bytes cannot change is written.
_UNFINISHED_SECONDS = 0.5
# With more written but uncommitted text than this, pushes wait for the database.
_MAX_UNSHOWN_BYTES = 16 * 1024 * 1024
# Longer than a busy disk takes, and less than the 30 s after which a supervisor repeats its push (log.sh).
_DURABLE_SECONDS = 20.0


def own_stream(branch: str) -> str:
    """The stream of a supervisor's own log: that of its branch, or `main`."""
    return branch or "main"


class BuildLog:
    """Writes one log. Used from one event loop.

    `claims` are all attempts of the build's steps; `last_call_at` is the time of a supervisor's newest call, on the
    loop's clock. `stop_cause` is sent to supervisors with the answer to their next push; `broken` is the error after
    which nothing more can be written to the spool.
    """

    def __init__(
        self,
        build_uuid: str,
        writer: LogWriter,
        spool: Spool,
        database: Database,
        pieces: PieceWriter | None = None,
        *,
        app_id: str,
        claims: Sequence[Claim],
        context: Context,
        on_broken: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        """`context` is that of the app's owner.

        `on_broken` is called once, when the spool can no longer be used, and `on_lost` when a commit finds that another
        replica has taken the app. With `pieces`, what is durable is in the object store, too.
        """
        self.build_uuid = build_uuid
        self.app_id = app_id
        self.claims: Sequence[Claim] = ()
        self._by_run_token: Mapping[str, Claim] = {}
        self.last_call_at = asyncio.get_running_loop().time()
        self.stop_cause: str | None = None
        self.time_limit_at: datetime | None = None
        self.broken: SpoolError | None = None
        self.closed = False
        self._on_broken = on_broken
        self._writer = writer
        self._spool = spool
        self._commits = LogCommits(build_uuid, writer, spool, database, pieces, context=context, on_lost=on_lost)
        self._unfinished_check: asyncio.TimerHandle | None = None
        self.use_claims(claims)

    def use_claims(self, claims: Sequence[Claim]) -> None:
        """Replace `claims`. An ended attempt cannot send its bytes again, so a replay does not wait for them."""
        self.claims = claims
        self._by_run_token = {claim.run_digest: claim for claim in reversed(claims)}  # the oldest claim wins
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
        while self._commits.hidden_bytes > _MAX_UNSHOWN_BYTES and not (self.broken or self.lost):
            await self._commits.next()

    async def end_stream(self, claim: Claim, stream: str) -> None:
        """End the stream; returns once all of it is durable.

        Raises:
            NotOwnerError: another replica has taken the app.
            UnavailableError: a replay of a lost log is not complete, or the disk, the database or the object store is
                too slow: the caller has to send the end again. StoreError: the database failed. ObjectStoreError: the
                object store failed.
        """
        self._commits.raise_if_lost()
        if self.broken is not None or self.closed:
            return
        try:
            self._writer.finish_stream((claim.claim_id, stream), claim.branch)
            async with asyncio.timeout(_DURABLE_SECONDS):
                await self._commits.make_durable()
                await self._commits.keep()
        except SpoolError as error:
            self._break(error)
        except TimeoutError:
            message = "The database, the disk or the object store did not store the log in time."
            raise UnavailableError(message) from None

    async def close(self) -> None:
        """Accept nothing more; write, commit and show the rest. Idempotent. Raises StoreError."""
        self._accept_nothing_more()
        if self.broken is None:
            try:
                self._writer.finish()
                await self._commits.make_durable()
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
        digest = await self._commits.digest()
        return FinalLog(*digest.followed_by(ending), ending.decode())

    async def keep(self) -> None:
        """Return once all committed bytes are in the object store; with SQLite, at once. Also call it after `close`.

        Raises UnavailableError if a try has failed, and SpoolError.
        """
        if self.broken is None:
            await self._commits.keep()

    def forget_pieces(self) -> None:
        """Stop uploading pieces: the build is final, and its log will be archived."""
        self._commits.forget_pieces()

    @property
    def lost(self) -> bool:
        """Whether another replica has taken the app, so that no push may be acknowledged any more."""
        return self._commits.lost

    def lose(self) -> None:
        """Another replica has taken the app, or this process ends: what is not committed is requested again.

        No push is acknowledged any more, because its bytes would be in no file.
        """
        self._accept_nothing_more()
        self._commits.lose()

    def _accept_nothing_more(self) -> None:
        self.closed = True
        if self._unfinished_check is not None:
            self._unfinished_check.cancel()

    # --- unfinished lines

    def _schedule_commit(self) -> None:
        """Start a commit if there is uncommitted text, and the timer for an unfinished line."""
        if self.lost:
            return
        self._commits.schedule()
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

    def _break(self, error: SpoolError) -> None:
        self.broken = error
        self._commits.wake()
        self._on_broken()
