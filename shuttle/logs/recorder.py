"""Records segments: in which order the text of a log's streams was written, and checksums of their raw bytes."""

import hashlib
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from shuttle.logs import Segment
from shuttle.logs.replay import StreamKey

# A row each. If streams take turns more often, a lost disk costs the order of what came later, but none of its text.
_MOST_SEGMENTS = 50_000
# With more waiting, bytes are summed where they arrive: an endless line has no text, so no commit asks for its sum.
_MOST_UNSUMMED_BYTES = 8 * 1024 * 1024


class SegmentRecorder:
    """Collects segments for the next commit. One thread may call `sum_up` beside another that calls the others."""

    def __init__(self, next_position: int) -> None:
        """`next_position` is the first that is not recorded yet."""
        self._next_position = next_position
        self._newest: Segment | None = None
        # To be committed, by position; one whose sum is still "" has grown since it was last committed.
        self._changed: dict[int, Segment] = {}
        self._sums: dict[int, Any] = {}
        self._unsummed: deque[tuple[Any, bytes]] = deque()
        self._summing = threading.Lock()
        self._added_bytes = 0
        self._summed_bytes = 0

    def grow(self, key: StreamKey, raw_start: int, raw: bytes = b"", text_bytes: int = 0) -> None:
        """Add to the newest segment, or begin one at `raw_start` if the newest belongs to another stream."""
        last = self._newest
        if last is None or (last.claim_id, last.stream) != key:
            if self._next_position > _MOST_SEGMENTS:
                return
            if last is not None and last.position not in self._changed:
                del self._sums[last.position]
            last = Segment(self._next_position, *key, raw_start, raw_start, "", 0)
            self._sums[last.position] = hashlib.sha256()
            self._next_position += 1
        stop, text_bytes = last.raw_stop + len(raw), last.text_bytes + text_bytes
        self._newest = replace(last, raw_stop=stop, raw_sha256="", text_bytes=text_bytes)
        self._changed[last.position] = self._newest
        self._unsummed.append((self._sums[last.position], raw))
        self._added_bytes += len(raw)
        if self.unsummed_bytes > _MOST_UNSUMMED_BYTES:
            self.sum_up()

    @property
    def unsummed_bytes(self) -> int:
        """For how many raw bytes the checksum is still to be computed."""
        return self._added_bytes - self._summed_bytes

    def sum_up(self) -> None:
        """Compute what is missing of the checksums."""
        with self._summing:
            while self._unsummed:
                its_sum, raw = self._unsummed.popleft()
                its_sum.update(raw)
                self._summed_bytes += len(raw)

    def changes(self) -> list[Segment]:
        """The segments that are new or have grown since the last call."""
        self.sum_up()
        changed, self._changed = [self._with_sum(segment) for segment in self._changed.values()], {}
        return changed

    def unsaved(self, segments: Sequence[Segment]) -> None:
        """Their commit failed: return them with the next `changes`, unless they have grown since."""
        self._changed = {segment.position: segment for segment in segments} | self._changed

    def _with_sum(self, segment: Segment) -> Segment:
        if segment.raw_sha256:
            return segment
        may_grow = segment is self._newest
        its_sum = self._sums[segment.position] if may_grow else self._sums.pop(segment.position)
        return replace(segment, raw_sha256=its_sum.hexdigest())
