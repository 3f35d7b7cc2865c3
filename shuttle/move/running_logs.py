"""The logs that are in spools: uploaded as pieces, as the service keeps them with PostgreSQL."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shuttle.build import Build
from shuttle.lifecycle.log_pieces import recorded_bytes
from shuttle.lifecycle.piece_writer import LARGEST_PIECE_BYTES
from shuttle.logs.archive import CONTENT_TYPE
from shuttle.move.objects import Upload
from shuttle.move.rows import Row
from shuttle.objects import FilePart
from shuttle.objects.names import piece_object
from shuttle.store.log_pieces import Piece
from shuttle.store.tables import log_pieces


@dataclass(frozen=True, slots=True)
class RunningLog:
    """A build's log in its spool, and the pieces that it becomes.

    The pieces have only bytes that are recorded. The service requests all other bytes from the agents again, also those
    that are recorded but missing in the spool. `reaches`: the pieces reach the build's checkpoint.
    """

    build: Build
    path: Path
    pieces: Sequence[Piece]
    reaches: bool

    def uploads(self) -> Iterator[Upload]:
        """The objects of the pieces."""
        for piece in self.pieces:
            name = piece_object(self.build.build_uuid, piece.offset_bytes, piece.size_bytes)
            yield Upload(name, self.path, CONTENT_TYPE, FilePart(piece.offset_bytes, piece.size_bytes))

    def rows(self, checkpoint: str | None) -> Iterator[Row]:
        """The rows of `log_pieces`; the last one has the build's `checkpoint`, a JSON text."""
        for piece in self.pieces:
            last = self.reaches and piece is self.pieces[-1]
            row = {
                "build_uuid": self.build.build_uuid,
                "offset_bytes": piece.offset_bytes,
                "size_bytes": piece.size_bytes,
                # Any instant says that the object is stored; this one is the same in a repeated run.
                "stored_at": self.build.claimed_at,
                "checkpoint": checkpoint if last else None,
            }
            yield tuple(row[column.name] for column in log_pieces.c)


def running_log(build: Build, spool_folder: Path) -> RunningLog:
    """The log of a build whose steps have been claimed and whose log is not archived."""
    path = spool_folder / f"{build.build_uuid}.log"
    size_bytes = path.stat().st_size if path.exists() else 0
    kept_bytes = min(size_bytes, recorded_bytes(build))
    if kept_bytes <= len(build.preamble.encode()):  # the record has it
        return RunningLog(build, path, (), reaches=False)
    starts = range(0, kept_bytes, LARGEST_PIECE_BYTES)
    pieces = [Piece(start, min(LARGEST_PIECE_BYTES, kept_bytes - start)) for start in starts]
    reached = build.checkpoint is not None and build.checkpoint.log_offset <= kept_bytes
    return RunningLog(build, path, pieces, reached)


def piece_rows(logs: Sequence[RunningLog], checkpoints: Mapping[str, str | None]) -> list[Row]:
    """The rows of all pieces, sorted by their key; `checkpoints` are JSON texts by build uuid."""
    return sorted(
        (row for log in logs for row in log.rows(checkpoints.get(log.build.build_uuid))), key=lambda row: row[:3]
    )
