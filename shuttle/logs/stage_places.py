"""Finds the places of a stream's stages in the log: the offsets at which the text of each stage begins and ends."""

from bisect import insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class StageMark:
    """The beginning or the end of a stage at an offset of the raw stream. `position` is that of the stage's row."""

    raw_offset: int
    is_end: bool
    position: int


@dataclass(frozen=True, slots=True)
class StagePlace:
    """The offset in the log at which a stage begins or ends."""

    position: int
    is_end: bool
    log_offset: int


class StagePlaces:
    """Follows one stream from its raw bytes to the log.

    A mark within a line counts from the next line on. The place of a mark is the offset in the log at which the
    stream's text before the mark ends. If there is no such text, it is the offset of the stream's first byte. So the
    places depend on the raw bytes and on the recorded order alone, and the stages of a stream follow one another
    without a gap.
    """

    def __init__(self, taken: int, state: Mapping[str, Any] | None = None) -> None:
        """Continues at the raw offset `taken`; `state` is that of an earlier object at this offset."""
        state = state or {}
        # The raw offset of the unfinished line. A checkpoint of an earlier version does not have it.
        self._line_start: int = state.get("line_start", taken)
        # The offset in the log at which the stream's text ends so far; None = it has no text yet.
        self._log_stop: int | None = state.get("log_stop")
        self._ahead: list[StageMark] = []
        # Marks whose offset is reached, with the amount of text before them. This amount and the two below are counted
        # from 0 by each object, also by one that continues an earlier one.
        self._reached: list[tuple[int, StageMark]] = []
        self._text_bytes = 0
        self._written_bytes = 0
        self._open: set[int] = set()
        self._found: list[StagePlace] = []

    def state(self) -> dict[str, int]:
        """The state from which a new object continues; JSON values."""
        return {"line_start": self._line_start} | ({} if self._log_stop is None else {"log_stop": self._log_stop})

    def add(self, mark: StageMark, taken: int) -> None:
        """Add a mark of a stream of which `taken` raw bytes have arrived.

        A mark is late if the stream's unfinished line begins after it, or begins at it and has bytes already. Then its
        place is recorded, or can no longer be found. A late beginning has no effect. A late end counts from here on,
        unless its place is recorded: the stage has a few lines too many, instead of all to the end of the log.
        """
        (self._open.discard if mark.is_end else self._open.add)(mark.position)
        if mark.raw_offset < self._line_start or (mark.raw_offset == self._line_start < taken):
            if not mark.is_end:
                return
            mark = replace(mark, raw_offset=self._line_start)
        insort(self._ahead, mark)
        self._reach()

    def parts(self, taken: int, raw: bytes) -> Iterator[bytes]:
        """The next raw bytes, divided where marks count; call `took` after each part, before the next one."""
        while self._ahead and (size := self._bytes_to_mark(taken, raw)) < len(raw):
            yield raw[:size]
            taken, raw = taken + size, raw[size:]
        yield raw

    def _bytes_to_mark(self, taken: int, raw: bytes) -> int:
        """How many of the bytes come before the line from which the first mark counts."""
        before_mark = max(self._ahead[0].raw_offset - taken, 0)
        line_end = raw.find(b"\n", max(before_mark - 1, 0))
        return len(raw) if line_end < 0 else line_end + 1

    def took(self, taken: int, part: bytes, text_bytes: int) -> None:
        """A part of the raw bytes, up to the offset `taken`, gave `text_bytes` of text."""
        self._text_bytes += text_bytes
        if (line_end := part.rfind(b"\n")) >= 0:
            self._line_start = taken - len(part) + line_end + 1
        self._reach()

    def more_text(self, text_bytes: int) -> None:
        """Bytes that were held gave text."""
        self._text_bytes += text_bytes

    def _reach(self) -> None:
        while self._ahead and self._ahead[0].raw_offset <= self._line_start:
            self._reached.append((self._text_bytes, self._ahead.pop(0)))
        self._find()

    def texts(self, text: bytes) -> Iterator[bytes]:
        """Text that is about to be written, divided at marks; call `wrote` after each part, before the next one."""
        while 0 < (size := self._text_to_mark()) < len(text):
            yield text[:size]
            text = text[size:]
        yield text

    def _text_to_mark(self) -> int:
        """How much text comes before the next mark; 0 = no mark follows."""
        return next((at - self._written_bytes for at, _ in self._reached if at > self._written_bytes), 0)

    def wrote(self, text_bytes: int, log_start: int, log_stop: int) -> None:
        """Text of the stream is in the log from `log_start` to `log_stop`."""
        if self._log_stop is None:
            self._find_at(log_start, 0)
        self._written_bytes += text_bytes
        self._log_stop = log_stop
        self._find()

    def finish(self, log_bytes: int) -> None:
        """The stream ends: marks beyond its end are placed at its end, and stages without an end get their end there.

        `log_bytes` is the size of the log; it is the place of all marks of a stream without text.
        """
        ends = [StageMark(self._line_start, is_end=True, position=position) for position in sorted(self._open)]
        self._open.clear()
        self._reached += [(self._text_bytes, mark) for mark in (*self._ahead, *ends)]
        self._ahead.clear()
        if not self._text_bytes and self._log_stop is None:
            self._log_stop = log_bytes
        self._find()

    def give_up(self, log_bytes: int) -> None:
        """Text that was awaited is lost: its marks are placed at the end of the stream's text, or else of the log."""
        self._find_at(log_bytes if self._log_stop is None else self._log_stop, self._text_bytes)

    def _find(self) -> None:
        if self._log_stop is not None:
            self._find_at(self._log_stop, self._written_bytes)

    def _find_at(self, log_offset: int, text_bytes: int) -> None:
        """The marks after at most `text_bytes` of text are at this offset of the log."""
        while self._reached and self._reached[0][0] <= text_bytes:
            mark = self._reached.pop(0)[1]
            self._found.append(StagePlace(mark.position, mark.is_end, log_offset))

    @property
    def any_found(self) -> bool:
        """Whether places were found since the last call of `found`."""
        return bool(self._found)

    def found(self) -> list[StagePlace]:
        """The places that were found since the last call."""
        found, self._found = self._found, []
        return found
