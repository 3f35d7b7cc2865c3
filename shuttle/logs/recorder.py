"""Records segments: the order in which the text of a log's streams was written, and digests of their raw bytes."""

from collections.abc import Sequence
from dataclasses import replace

from shuttle.logs import Segment
from shuttle.logs.raw_digest import RawDigest
from shuttle.logs.replay import StreamKey

# Each segment is a row. If streams alternate more often, a lost disk loses the order of later text, but no text.
_MAX_SEGMENTS = 50_000


class SegmentRecorder:
    """Collects segments for the next commit."""

    def __init__(self, recorded: Sequence[Segment]) -> None:
        """Continues after the segments that are recorded already."""
        self._next_position = max((segment.position for segment in recorded), default=0) + 1
        self._text_bytes = sum(segment.text_bytes for segment in recorded)
        self._newest: Segment | None = None
        self._newest_digest = RawDigest()
        self._changed: dict[int, Segment] = {}

    def grow(self, key: StreamKey, raw_start: int, raw: bytes = b"", text_bytes: int = 0) -> None:
        """Add to the newest segment, or begin one at `raw_start` if the newest belongs to another stream."""
        last = self._newest
        if last is None or (last.claim_id, last.stream) != key:
            if self._next_position > _MAX_SEGMENTS:
                return
            last = Segment(self._next_position, *key, raw_start, raw_start, "", 0)
            self._newest_digest = RawDigest()
            self._next_position += 1
        self._newest_digest.update(raw)
        self._newest = replace(
            last,
            raw_stop=last.raw_stop + len(raw),
            raw_digest=self._newest_digest.value,
            text_bytes=last.text_bytes + text_bytes,
        )
        self._changed[last.position] = self._newest
        self._text_bytes += text_bytes

    def begin_segment(self) -> None:
        """Let the next bytes begin a segment, even if they are of the same stream."""
        self._newest = None

    @property
    def text_bytes(self) -> int:
        """How much text all segments have, those that are recorded already included."""
        return self._text_bytes

    def changes(self) -> list[Segment]:
        """The segments that are new or have grown since the last call."""
        changed, self._changed = list(self._changed.values()), {}
        return changed

    def restore(self, segments: Sequence[Segment]) -> None:
        """Call it after a failed commit: `changes` returns these segments again, in their newest form."""
        self._changed = {segment.position: segment for segment in segments} | self._changed
