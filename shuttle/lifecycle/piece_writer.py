"""Keeps one running log in the object store, as pieces: uploads what is final, in the background."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextvars import Context

import structlog

from shuttle.build import Checkpoint
from shuttle.errors import NotOwnerError, UnavailableError
from shuttle.logs.archive import CONTENT_TYPE
from shuttle.logs.spool import Spool, SpoolError
from shuttle.objects import FilePart, ObjectStore
from shuttle.objects.names import piece_object
from shuttle.store import Database
from shuttle.store.log_pieces import Piece, StoredPieces, keep_piece, register_piece

log = structlog.get_logger()

# boto3 sends an object of 8 MiB or more in several requests.
LARGEST_PIECE_BYTES = 8 * 1024 * 1024 - 1
# Bytes are uploaded this long after the first of them was written.
_LONGEST_UNKEPT_SECONDS = 5.0
# An upload and the deletion of what it replaces take 10 to 15 ms of CPU (measured). So with more than 100 growing logs
# each is uploaded less often.
_UPLOADS_PER_SECOND = 20.0
_FIRST_RETRY_SECONDS = 0.5
_LONGEST_RETRY_SECONDS = 5.0


class Uploads:
    """Limits the uploads of all logs of the process; memory does not depend on it, because files are streamed."""

    def __init__(self, at_once: int) -> None:
        self.slots = asyncio.Semaphore(at_once)
        self.growing: set[asyncio.Task[None]] = set()

    @property
    def pause_seconds(self) -> float:
        """How long a growing log waits between two uploads."""
        return max(_LONGEST_UNKEPT_SECONDS, len(self.growing) / _UPLOADS_PER_SECOND)


class PieceWriter:
    """Uploads one log. Used from one event loop.

    A slow log would make a piece every few seconds. So an upload also contains the newest pieces, as long as each is
    not larger than the bytes after it, and replaces them. A log of N bytes in U uploads has about log2(U) + N / 4 MiB
    pieces, and each byte is uploaded log2(U) times at most.
    """

    def __init__(
        self,
        build_uuid: str,
        spool: Spool,
        stored: StoredPieces,
        *,
        recorded_bytes: int,
        database: Database,
        objects: ObjectStore,
        uploads: Uploads,
        context: Context,
        begin_segment: Callable[[], None],
    ) -> None:
        """`stored` is what earlier processes have kept; the first `recorded_bytes` are in the build's record.

        `context` is that of the app's owner. `begin_segment` is called when a checkpoint is kept: only whole segments
        after it can be compared with what agents send again.
        """
        self._build_uuid = build_uuid
        self._spool = spool
        self._pieces = list(stored.pieces)
        self._checkpoint = stored.checkpoint
        self._recorded_bytes = recorded_bytes
        self._database = database
        self._objects = objects
        self._uploads = uploads
        self._context = context
        self._begin_segment = begin_segment
        self._final_bytes = self._kept_bytes
        self._newest = stored.checkpoint
        self._next: tuple[Piece, Sequence[Piece]] | None = None
        self._deleted: list[Piece] = []
        self._task: asyncio.Task[None] | None = None
        self._urgent = asyncio.Event()
        self._waiting: set[asyncio.Future[None]] = set()
        self._failing = False
        self._cancelled = False

    def note(self, final_bytes: int, checkpoint: Checkpoint | None) -> None:
        """The first `final_bytes` of the spool never change again; `checkpoint` is the one at their end, if any."""
        self._final_bytes = max(self._final_bytes, final_bytes)
        self._newest = checkpoint or self._newest
        if self._final_bytes - self._kept_bytes >= LARGEST_PIECE_BYTES:
            self._urgent.set()
        self._start()

    async def kept(self, offset: int) -> None:
        """Return once the log up to `offset` and its checkpoint are kept; they have to be noted before.

        Raises:
            UnavailableError: a try has failed; it is repeated.
            SpoolError: the spool is gone.
            NotOwnerError: another replica has taken the app, or this process ends.
        """
        while self._reached_bytes < offset:
            if self._cancelled:
                raise NotOwnerError
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.add(waiting)
            self._urgent.set()
            self._start()
            try:
                await waiting
            finally:
                self._waiting.discard(waiting)

    def cancel(self) -> None:
        """Stop uploading, and waiting. What is not kept is in the spool, or is sent again by agents."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()
        self._answer(NotOwnerError())

    # --- the task

    @property
    def _kept_bytes(self) -> int:
        return self._pieces[-1].end_bytes if self._pieces else 0

    @property
    def _reached_bytes(self) -> int:
        checkpoint_bytes = self._checkpoint.log_offset if self._checkpoint is not None else 0
        return max(self._recorded_bytes, min(self._kept_bytes, checkpoint_bytes))

    @property
    def _behind(self) -> bool:
        return self._kept_bytes < self._final_bytes or self._newest != self._checkpoint

    def _start(self) -> None:
        if self._task is None and self._behind and not self._cancelled:
            name = f"pieces of {self._build_uuid}"
            self._task = asyncio.create_task(self._run(), name=name, context=self._context.copy())
            self._uploads.growing.add(self._task)
            self._task.add_done_callback(self._uploads.growing.discard)

    async def _run(self) -> None:
        """Upload until everything is kept."""
        retry_seconds = _FIRST_RETRY_SECONDS
        try:
            while self._behind:
                await self._pause()
                try:
                    await self._keep_next()
                    self._failing = False
                    retry_seconds = _FIRST_RETRY_SECONDS
                except NotOwnerError as error:
                    self._cancelled = True
                    self._answer(error)
                    return
                except Exception as error:  # noqa: BLE001 - a bug must not lose the log: it is logged and tried again
                    self._report(error)
                    await asyncio.sleep(retry_seconds * random.uniform(0.75, 1.25))  # noqa: S311 - jitter
                    retry_seconds = min(retry_seconds * 2, _LONGEST_RETRY_SECONDS)
        finally:
            self._task = None

    async def _pause(self) -> None:
        """Let more bytes join the next piece, unless somebody waits for it or it is full."""
        if not self._waiting and self._final_bytes - self._kept_bytes < LARGEST_PIECE_BYTES:
            try:
                async with asyncio.timeout(self._uploads.pause_seconds):
                    await self._urgent.wait()
            except TimeoutError:
                pass
        self._urgent.clear()

    async def _keep_next(self) -> None:
        async with self._uploads.slots:
            # A try that failed is repeated with the same piece, so that its object is known.
            piece, replaced = self._next = self._next or self._next_piece()
            checkpoint = self._newest
            if checkpoint is None or checkpoint.log_offset > piece.end_bytes:
                checkpoint = self._checkpoint
            else:
                self._begin_segment()
            if piece not in self._pieces:
                await self._upload(piece)
            await self._database.run(keep_piece, self._build_uuid, piece, replaced, checkpoint)
        self._next = None
        self._pieces = [kept for kept in self._pieces if kept not in (*replaced, piece)] + [piece]
        self._checkpoint = checkpoint
        self._answer(None)
        for smaller in replaced:
            await self._objects.delete(self._name(smaller))
            self._deleted.append(smaller)

    def _next_piece(self) -> tuple[Piece, Sequence[Piece]]:
        """The next piece, and those that it replaces; the last piece again if only a checkpoint has to be recorded."""
        if self._kept_bytes == self._final_bytes:
            return self._pieces[-1], ()
        start, end, replaced = self._kept_bytes, self._final_bytes, list[Piece]()
        for piece in reversed(self._pieces):
            if piece.size_bytes > end - start or end - piece.offset_bytes > LARGEST_PIECE_BYTES:
                break
            start = piece.offset_bytes
            replaced.append(piece)
        return Piece(start, min(end - start, LARGEST_PIECE_BYTES)), replaced

    async def _upload(self, piece: Piece) -> None:
        deleted, self._deleted = self._deleted, []
        await self._database.run(register_piece, self._build_uuid, piece, deleted)
        part = FilePart(piece.offset_bytes, piece.size_bytes)
        try:
            await self._objects.put_part(self._name(piece), self._spool.path, part, content_type=CONTENT_TYPE)
        except FileNotFoundError:
            raise SpoolError("The log's spool is gone: leave SHUTTLE_DATA_DIR alone while the shuttle runs.") from None

    def _name(self, piece: Piece) -> str:
        return piece_object(self._build_uuid, piece.offset_bytes, piece.size_bytes)

    # --- those who wait

    def _report(self, error: Exception) -> None:
        if not isinstance(error, UnavailableError | SpoolError):
            log.exception("a log could not be kept in the object store", build_uuid=self._build_uuid)
        elif not self._failing:
            log.warning("a log waits for the object store", build_uuid=self._build_uuid, error=error.message)
        self._failing = True
        self._answer(error)

    def _answer(self, error: Exception | None) -> None:
        for waiting in self._waiting:
            if waiting.done():
                continue
            if error is None:
                waiting.set_result(None)
            else:
                waiting.set_exception(error)
