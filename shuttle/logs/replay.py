"""Replays a lost log: puts text into the recorded order, and compares agents' copies with the recorded digests."""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from shuttle.logs import Segment
from shuttle.logs.raw_digest import RawDigest

# (claim_id, name of the stream within that claim).
StreamKey = tuple[int, str]


class Replay:
    """Follows the order of the recorded segments while agents send their bytes again.

    Text of a stream waits here until all text before it in the recorded order is written. `lossy`: some of the recorded
    text cannot be sent again.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        *,
        written_text_bytes: int = 0,
        raw_offsets: Mapping[StreamKey, int] | None = None,
    ) -> None:
        """The first `written_text_bytes` of the recorded text are written already; the streams begin at `raw_offsets`,
        or at 0."""
        self._order = deque(_text_after(written_text_bytes, segments))
        self._text_left = self._order[0].text_bytes if self._order else 0
        self.lossy = False
        self._waiting: defaultdict[StreamKey, bytearray] = defaultdict(bytearray)
        self._checks: defaultdict[StreamKey, _RawCheck] = defaultdict(_RawCheck)
        for key, offset in (raw_offsets or {}).items():
            self._checks[key] = _RawCheck(offset)
        for segment in segments:
            self._checks[segment.claim_id, segment.stream].expect(segment)

    @property
    def over(self) -> bool:
        """Whether all recorded text has been taken."""
        return not self._order

    @property
    def altered(self) -> bool:
        """Whether an agent's copy differs from what it sent before."""
        return any(check.altered for check in self._checks.values())

    def waiting_bytes(self, key: StreamKey) -> int:
        """How many bytes of the stream's text are waiting."""
        return len(self._waiting[key])

    def recorded_stop(self, key: StreamKey) -> int:
        """The end of the stream's last recorded segment, as a raw offset."""
        return self._checks[key].stop

    def check(self, key: StreamKey, raw: bytes) -> None:
        """Compare the stream's next raw bytes with the recorded digests."""
        self._checks[key].feed(raw)

    def add(self, key: StreamKey, text: bytes) -> None:
        """Add the next text of the stream to its waiting text."""
        self._waiting[key] += text

    def take(self) -> tuple[StreamKey, bytes] | None:
        """The next text in the recorded order, as far as it has arrived; None = none has arrived, or all is taken."""
        if not self._order:
            return None
        key = (self._order[0].claim_id, self._order[0].stream)
        waiting = self._waiting[key]
        piece = bytes(waiting[: self._text_left])
        if not piece:
            return None
        del waiting[: len(piece)]
        self._text_left -= len(piece)
        if not self._text_left:
            self._order.popleft()
            self._text_left = self._order[0].text_bytes if self._order else 0
        return key, piece

    def give_up(self, claim_id: int) -> None:
        """Drop the claim's segments from the order: its bytes cannot be sent again."""
        left = deque(segment for segment in self._order if segment.claim_id != claim_id)
        if len(left) < len(self._order):
            self.lossy = True
            if not left or left[0] is not self._order[0]:
                self._text_left = left[0].text_bytes if left else 0
            self._order = left

    def rest(self) -> list[tuple[StreamKey, bytes]]:
        """Give up the recorded order; returns all waiting text, stream by stream."""
        self._order.clear()
        rest = [(key, bytes(text)) for key, text in self._waiting.items() if text]
        self._waiting.clear()
        return rest


def _text_after(written_bytes: int, segments: Sequence[Segment]) -> Iterator[Segment]:
    """The segments with text, without the first `written_bytes` of it."""
    for segment in segments:
        skipped = min(written_bytes, segment.text_bytes)
        written_bytes -= skipped
        if segment.text_bytes > skipped:
            yield replace(segment, text_bytes=segment.text_bytes - skipped)


class _RawCheck:
    """Compares one stream's raw bytes, from an offset on, with the digests of its segments.

    The segment that contains the offset cannot be checked.
    """

    def __init__(self, offset: int = 0) -> None:
        self.altered = False
        self.stop = 0
        self._at = offset
        self._expected: deque[Segment] = deque()
        self._digest: RawDigest | None = None

    def expect(self, segment: Segment) -> None:
        self.stop = max(self.stop, segment.raw_stop)
        if segment.raw_stop > segment.raw_start >= self._at:
            self._expected.append(segment)

    def feed(self, raw: bytes) -> None:
        while raw and self._expected:
            segment = self._expected[0]
            if self._at < segment.raw_start:
                skipped = min(segment.raw_start - self._at, len(raw))
                self._at += skipped
                raw = raw[skipped:]
                continue
            part = raw[: segment.raw_stop - self._at]
            self._digest = self._digest or RawDigest(like=segment.raw_digest)
            self._digest.update(part)
            self._at += len(part)
            raw = raw[len(part) :]
            if self._at == segment.raw_stop:
                self.altered |= self._digest.value != segment.raw_digest
                self._expected.popleft()
                self._digest = None
