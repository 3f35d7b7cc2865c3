"""A log that a test writes, loses and writes again: what of it is durable, and the supervisors' side."""

from dataclasses import dataclass, field
from pathlib import Path

from shuttle.build import Checkpoint
from shuttle.logs import LogRules, Segment
from shuttle.logs.mask import Masker
from shuttle.logs.spool import Spool
from shuttle.logs.stage_places import StageMark
from shuttle.logs.writer import LogWriter

RULES = LogRules(secrets=("s3cret-value",), max_line_bytes=200, max_log_bytes=100_000)
MASKER = Masker(RULES.secrets)
MAIN = (1, "main")
LEFT = (2, "main")
RIGHT = (3, "main")
BRANCHES = {MAIN: "", LEFT: "left", RIGHT: "right"}
PREAMBLE = b"-----> Source: 3 bytes\n"


@dataclass
class DurableLog:
    """The parts of a log that survive a crash: the spool's file, the committed rows, and pieces elsewhere."""

    path: Path
    segments: dict[int, Segment] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    pieces: bytes = b""
    earlier: Checkpoint | None = None
    marks: list[tuple[tuple[int, str], StageMark]] = field(default_factory=list)
    places: dict[tuple[int, bool], int] = field(default_factory=dict)

    def writer(self) -> tuple[LogWriter, Spool]:
        spool = Spool(self.path)
        if self.checkpoint is not None and spool.written_bytes < self.checkpoint.log_offset:
            spool.hide(0)
            spool.restore(0, self.pieces)
            spool.show(len(self.pieces))
        if spool.written_bytes < len(PREAMBLE):
            spool.append(PREAMBLE[spool.written_bytes :])
        segments = [self.segments[position] for position in sorted(self.segments)]
        writer = LogWriter(
            spool,
            RULES,
            MASKER,
            preamble_bytes=len(PREAMBLE),
            checkpoint=self.checkpoint,
            segments=segments,
            earlier=self.earlier,
        )
        for key, mark in self.marks:
            writer.mark_stage(key, BRANCHES[key], mark)
        return writer, spool

    def mark(self, writer: LogWriter, key: tuple[int, str], mark: StageMark) -> None:
        """Record the beginning or the end of a stage, as a call of the supervisor does."""
        self.marks.append((key, mark))
        writer.mark_stage(key, BRANCHES[key], mark)

    def keep(self, spool: Spool, *, with_checkpoint: bool) -> None:
        """Keep what readers see elsewhere, and the checkpoint if it is not beyond that."""
        self.pieces = max(self.pieces, written(self)[: spool.size_bytes], key=len)
        if with_checkpoint and self.checkpoint is not None and self.checkpoint.log_offset <= len(self.pieces):
            self.earlier = self.checkpoint

    def commit(self, writer: LogWriter, spool: Spool) -> None:
        changes = writer.changes()
        if changes is not None:
            segments, self.checkpoint = changes
            self.segments |= {segment.position: segment for segment in segments}
            for place in writer.places():
                if not place.is_end or (place.position, True) not in self.places:
                    self.places[place.position, place.is_end] = place.log_offset
        spool.show(writer.offset)


def send(writer: LogWriter, key: tuple[int, str], raw: bytes, size: int = 7) -> None:
    """Send `raw` like a supervisor: from the wanted offset on, until everything is taken."""
    while (offset := writer.wanted(key, BRANCHES[key])) < len(raw):
        if writer.take(key, BRANCHES[key], offset, raw[offset : offset + size]) == offset:
            return


def written(durable: DurableLog) -> bytes:
    """The bytes of the spool."""
    return durable.path.read_bytes()
