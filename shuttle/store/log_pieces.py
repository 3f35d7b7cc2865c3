"""The rows of log pieces: which parts of a running log are in the object store, and the checkpoint that they reach."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from shuttle.build import Checkpoint
from shuttle.store.tables import builds, log_pieces
from shuttle.store.tx import Tx


@dataclass(frozen=True, slots=True)
class Piece:
    """One object, with `size_bytes` bytes of a log from `offset_bytes` on. The bytes never change."""

    offset_bytes: int
    size_bytes: int

    @property
    def end_bytes(self) -> int:
        """The offset after the piece."""
        return self.offset_bytes + self.size_bytes


@dataclass(frozen=True, slots=True)
class StoredPieces:
    """The pieces from which a log is read, sorted by offset, and the newest checkpoint that they reach."""

    pieces: Sequence[Piece] = ()
    checkpoint: Checkpoint | None = None

    @property
    def end_bytes(self) -> int:
        """The offset after the last piece."""
        return max((piece.end_bytes for piece in self.pieces), default=0)


def register_piece(tx: Tx, build_uuid: str, piece: Piece, deleted: Sequence[Piece]) -> None:
    """Record that the piece's object is about to be stored. So it is found and deleted even if the process dies then.

    `deleted` are pieces whose objects have been deleted.
    """
    tx.execute(insert(log_pieces).on_conflict_do_nothing(), {"build_uuid": build_uuid} | asdict(piece))
    for gone in deleted:
        tx.execute(log_pieces.delete().where(*_is(build_uuid, gone), log_pieces.c.stored_at.is_(None)))


def keep_piece(tx: Tx, build_uuid: str, piece: Piece, replaced: Sequence[Piece], checkpoint: Checkpoint | None) -> None:
    """Record that the piece is stored, and the newest checkpoint; the piece contains the pieces that it `replaced`."""
    older = (log_pieces.c.build_uuid == build_uuid, log_pieces.c.checkpoint.is_not(None))
    tx.execute(log_pieces.update().where(*older).values(checkpoint=None))
    for smaller in replaced:
        tx.execute(log_pieces.update().where(*_is(build_uuid, smaller)).values(stored_at=None))
    stored = {"stored_at": tx.now.at, "checkpoint": None if checkpoint is None else asdict(checkpoint)}
    key = ["build_uuid", "offset_bytes", "size_bytes"]
    row = {"build_uuid": build_uuid} | asdict(piece) | stored
    tx.execute(insert(log_pieces).on_conflict_do_update(index_elements=key, set_=stored), row)


def stored_pieces(tx: Tx, build_uuid: str) -> StoredPieces | None:
    """The build's pieces; None = the log is archived, so its pieces are or will be deleted."""
    archived = sa.select(sa.true()).where(builds.c.build_uuid == build_uuid, builds.c.archived_at.is_not(None))
    if tx.execute(archived).first() is not None:
        return None
    columns = (log_pieces.c.offset_bytes, log_pieces.c.size_bytes, log_pieces.c.checkpoint)
    query = sa.select(*columns).where(log_pieces.c.build_uuid == build_uuid, log_pieces.c.stored_at.is_not(None))
    rows = tx.execute(query.order_by(log_pieces.c.offset_bytes, log_pieces.c.size_bytes)).all()
    reached = [Checkpoint(**row.checkpoint) for row in rows if row.checkpoint is not None]
    newest = max(reached, key=lambda checkpoint: checkpoint.log_offset, default=None)
    return StoredPieces([Piece(row.offset_bytes, row.size_bytes) for row in rows], newest)


def registered_pieces(tx: Tx, build_uuid: str) -> list[Piece]:
    """All pieces of the build whose objects may exist."""
    query = sa.select(log_pieces.c.offset_bytes, log_pieces.c.size_bytes).where(log_pieces.c.build_uuid == build_uuid)
    return [Piece(*row) for row in tx.execute(query)]


def forget_pieces(tx: Tx, build_uuid: str) -> None:
    """Delete the rows, after the objects."""
    tx.execute(log_pieces.delete().where(log_pieces.c.build_uuid == build_uuid))


def archived_with_pieces(tx: Tx, limit: int) -> list[str]:
    """Uuids of archived builds that still have pieces."""
    query = sa.select(log_pieces.c.build_uuid).distinct().join(builds, builds.c.build_uuid == log_pieces.c.build_uuid)
    return list(tx.execute(query.where(builds.c.archived_at.is_not(None)).limit(limit)).scalars())


def _is(build_uuid: str, piece: Piece) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        log_pieces.c.build_uuid == build_uuid,
        log_pieces.c.offset_bytes == piece.offset_bytes,
        log_pieces.c.size_bytes == piece.size_bytes,
    )
