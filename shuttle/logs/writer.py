"""Writes one build's log: transforms raw bytes into text in the spool, and records its order as segments."""

from collections.abc import Mapping, Sequence
from typing import Any

from shuttle.build import Checkpoint
from shuttle.errors import ConflictError
from shuttle.logs import LogRules, Segment
from shuttle.logs.mask import Masker
from shuttle.logs.raw_streams import MAX_STREAMS, RawStream, RawStreams, stream_name
from shuttle.logs.recorder import SegmentRecorder
from shuttle.logs.replay import Replay, StreamKey
from shuttle.logs.spool import Spool
from shuttle.logs.stage_places import StageMark, StagePlace
from shuttle.logs.transform import LogComposer

# While a log is written again, this much text of one stream may wait for its place in the recorded order.
_MAX_WAITING_BYTES = 4 * 1024 * 1024
_ALTERED = "-----> An agent's copy of this log was changed after it had been sent."
PART_LOST = "-----> A part of this log was lost with the shuttle's disk."


class LogWriter:
    """Deterministic: the same pieces in the same order give the same bytes. Used from one event loop, never awaits.

    Written text stays hidden from readers until the caller has committed `changes` and calls `Spool.show`. Every method
    that writes raises SpoolError.
    """

    def __init__(
        self,
        spool: Spool,
        rules: LogRules,
        masker: Masker,
        *,
        preamble_bytes: int,
        checkpoint: Checkpoint | None,
        segments: Sequence[Segment],
        earlier: Checkpoint | None = None,
    ) -> None:
        """Continues at `checkpoint` if the spool is long enough.

        Otherwise a lost log is written again. If the spool is long enough for `earlier`, an older checkpoint, the log
        is written from there, and each stream is wanted from its offset in `earlier`. If not, all streams are wanted
        from offset 0.
        """
        self._spool = spool
        self._rules = rules
        self._masker = masker
        found = checkpoint.log if checkpoint is not None else {}
        self._altered, self._lossy = bool(found.get("altered")), bool(found.get("lossy"))
        self._recorder = SegmentRecorder(segments)
        states: Mapping[str, Mapping[str, Any]] = {}
        recorded_stops: Mapping[StreamKey, int] = {}
        if checkpoint is not None and spool.written_bytes >= checkpoint.log_offset:
            spool.truncate(checkpoint.log_offset)
            self.offset = checkpoint.log_offset
            self._log = LogComposer(rules, checkpoint.log, masker=masker)
            self._replay = Replay(())
            states = checkpoint.streams
            recorded_stops = {(s.claim_id, s.stream): s.raw_stop for s in segments}
        elif earlier is not None and spool.written_bytes >= earlier.log_offset:
            self.offset = earlier.log_offset
            self._log = LogComposer(rules, earlier.log, masker=masker)
            states = earlier.streams
            keys = {(segment.claim_id, segment.stream) for segment in segments}
            self._replay = Replay(
                segments,
                written_text_bytes=earlier.log["recorded"],
                raw_offsets={key: states.get(stream_name(key), {}).get("offset", 0) for key in keys},
            )
        else:
            if checkpoint is None:
                spool.truncate(preamble_bytes)
            spool.hide(preamble_bytes)
            self.offset = preamble_bytes
            self._log = LogComposer(rules, written_bytes=preamble_bytes, masker=masker)
            self._replay = Replay(segments)
        self._streams = RawStreams(self._log, self._replay, states, recorded_stops)

    # --- what agents send

    def wanted(self, key: StreamKey, branch: str) -> int:
        """The raw offset from which the stream is wanted. Raises ConflictError beyond MAX_STREAMS."""
        if not self._streams.has_room_for(key):
            raise ConflictError(f"A build may push at most {MAX_STREAMS} streams.")
        return self._streams.get(key, branch).taken

    def take(self, key: StreamKey, branch: str, offset: int, raw: bytes) -> int:
        """Take the new part of the raw bytes that begin at `offset`; returns the offset that is wanted next."""
        stream = self._streams.get(key, branch)
        new = raw[stream.taken - offset :] if offset < stream.taken else raw
        if offset > stream.taken or not new or stream.finished or not self._has_room(key):
            return stream.taken
        for part in stream.places.parts(stream.taken, new):
            text = stream.transform.feed(part)
            self._record_raw(key, stream, part)
            stream.taken += len(part)
            stream.places.took(stream.taken, part, len(text))
            self._add(key, text)
        return stream.taken

    def mark_stage(self, key: StreamKey, branch: str, mark: StageMark) -> None:
        """Find the place of a stage's beginning or end in the log; call it before the bytes that follow are taken."""
        if self._streams.has_room_for(key):
            stream = self._streams.get(key, branch)
            stream.places.add(mark, stream.taken)
            if stream.finished:
                stream.places.finish(self.offset)

    def idle(self) -> None:
        """Write the part of unfinished lines that later bytes cannot change."""
        for key, stream in self._streams.items():
            if stream.transform.held_bytes:
                self._add_held(key, stream.transform.idle())

    @property
    def holds_text(self) -> bool:
        """Whether unwritten bytes of unfinished lines are held."""
        return any(stream.transform.held_bytes for stream in self._streams.values())

    def finish_stream(self, key: StreamKey, branch: str) -> None:
        """Write the held bytes of the stream, and take no more of it. Idempotent."""
        stream = self._streams.get(key, branch)
        if not stream.finished:
            stream.finished = True
            self._add_held(key, stream.transform.finish())
            stream.places.finish(self.offset)

    def give_up(self, claim_id: int) -> None:
        """Stop waiting for this claim's bytes in a replay, because they cannot be sent again."""
        if not self._replay.over:
            self._replay.give_up(claim_id)
            self._write_in_order()

    def supersede(self, claim_id: int) -> None:
        """End the claim's streams: write their held bytes before anything that a newer claim sends."""
        self.give_up(claim_id)
        for key, stream in self._streams.items():
            if key[0] == claim_id:
                self.finish_stream(key, stream.branch)

    @property
    def replaying(self) -> bool:
        """Whether a lost log is being written again and recorded text is still missing."""
        return not self._replay.over

    def finish(self) -> None:
        """Write all held bytes at the end of the log. If recorded text is missing, the recorded order is given up."""
        for key, stream in self._streams.items():
            self.finish_stream(key, stream.branch)
        self._lossy = self.lossy or self.replaying
        rest = self._replay.rest()
        if self._spool.written_bytes > self.offset:
            self._keep_spool_bytes()
        else:
            for key, text in rest:
                self._write(key, text)
        for stream in self._streams.values():
            stream.places.give_up(self.offset)

    def _keep_spool_bytes(self) -> None:
        """Keep the spool's bytes beyond `offset`: the agents did not send all of them again."""
        self.offset = self._spool.written_bytes
        ends_in_line = not self._spool.holds(self.offset - 1, b"\n")
        self._log = LogComposer(self._rules, written_bytes=self.offset, ends_in_line=ends_in_line, masker=self._masker)

    def ending(self, texts: Sequence[str]) -> bytes:
        """The bytes that the lines `texts` would add, after notices about changed or lost bytes; writes nothing."""
        log = LogComposer(self._rules, self._log.state(), masker=self._masker)
        notices = [line for line, true in ((_ALTERED, self.altered), (PART_LOST, self.lossy)) if true]
        return b"".join(log.own_lines(lines) for lines in (*notices, *texts))

    @property
    def altered(self) -> bool:
        """Whether an agent sent different bytes when it sent them again."""
        return self._altered or self._replay.altered

    @property
    def lossy(self) -> bool:
        """Whether recorded text could not be written again."""
        return self._lossy or self._replay.lossy

    # --- commits

    def changes(self) -> tuple[list[Segment], Checkpoint] | None:
        """The segments that are new or have grown since the last call, and the checkpoint after them.

        None while a lost log is written again: its text is recorded already, and the older checkpoint leads to the same
        bytes.
        """
        if self.replaying:
            return None
        flags = {"altered": int(self.altered), "lossy": int(self.lossy)}
        state = {**self._log.state(), **flags, "recorded": self._recorder.text_bytes}
        return self._recorder.changes(), Checkpoint(self.offset, state, self._streams.states())

    @property
    def found_places(self) -> bool:
        """Whether places of stages wait for a commit."""
        return not self.replaying and any(stream.places.any_found for stream in self._streams.values())

    def places(self) -> list[StagePlace]:
        """The places of stages that were found since the last call; they belong to the same commit as `changes`."""
        return [place for stream in self._streams.values() for place in stream.places.found()]

    def begin_segment(self) -> None:
        """Let the next bytes begin a segment."""
        self._recorder.begin_segment()

    def restore(self, segments: Sequence[Segment]) -> None:
        """Call it after a failed commit: `changes` returns these segments again, in their newest form."""
        self._recorder.restore(segments)

    # --- text

    def _has_room(self, key: StreamKey) -> bool:
        return self._replay.over or self._replay.waiting_bytes(key) < _MAX_WAITING_BYTES

    def _record_raw(self, key: StreamKey, stream: RawStream, raw: bytes) -> None:
        """Compare recorded bytes with their digests; record the others."""
        known = min(max(stream.recorded_stop - stream.taken, 0), len(raw))
        if known:
            self._replay.check(key, raw[:known])
        if known < len(raw):
            new = raw[known:] if known else raw
            self._record(key, stream.taken + known, raw=new)

    def _add_held(self, key: StreamKey, text: bytes) -> None:
        self._streams[key].places.more_text(len(text))
        self._add(key, text)

    def _add(self, key: StreamKey, text: bytes) -> None:
        if self._replay.over:
            self._write(key, text)
            return
        self._replay.add(key, text)
        self._write_in_order()

    def _write_in_order(self) -> None:
        while (piece := self._replay.take()) is not None:
            self._put(*piece)
        if self._replay.over:
            for waiting_key, text in self._replay.rest():
                self._write(waiting_key, text)

    def _write(self, key: StreamKey, text: bytes) -> None:
        """Record new text and write it."""
        if text:
            stream = self._streams[key]
            self._record(key, max(stream.taken, stream.recorded_stop), text_bytes=len(text))
            self._put(key, text)

    def _record(self, key: StreamKey, raw_start: int, *, raw: bytes = b"", text_bytes: int = 0) -> None:
        """Record raw bytes or text, except after the byte cap, where no text is shown."""
        if not self._log.capped:
            self._recorder.grow(key, raw_start, raw, text_bytes)

    def _put(self, key: StreamKey, text: bytes) -> None:
        """Write text whose place in the order is recorded."""
        stream, name = self._streams[key], stream_name(key)
        for part in stream.places.texts(text):
            log_start = self.offset + self._log.begins_new_line(name)
            self._append(self._log.add(part, name, stream.branch))
            stream.places.wrote(len(part), log_start, self.offset)

    def _append(self, text: bytes) -> None:
        """Write to the spool at `offset`. Bytes that it has there already are kept, even if an agent's copy differs."""
        known = max(self._spool.written_bytes - self.offset, 0)
        if known and not self._spool.holds(self.offset, text[:known]):
            self._altered = True
        if known < len(text):
            self._spool.write(text[known:])
        self.offset += len(text)
