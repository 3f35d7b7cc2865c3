"""Transforms one raw stream of a build into text, independently of how the bytes are divided into pushes."""

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence

from shuttle.logs.mask import MASK, Masker
from shuttle.logs.pattern_search import LINE_FEED, Span
from shuttle.logs.utf8 import character_start, repaired

LINE_CUT = b" [line cut here: it is longer than SHUTTLE_MAX_LINE_BYTES]"

# Larger blocks are not faster (measured); this size fits the CPU's cache.
_BLOCK_BYTES = 64 * 1024
_LONGEST_CHARACTER_BYTES = 4
_REPLACEMENT = "\ufffd".encode()
# A piece: text up to and including a CR or LF. The line cap counts each piece separately.
_PIECE = re.compile(rb"[^\r\n]+[\r\n]?|[\r\n]")


class StreamTransform:
    """CRLF becomes LF, invalid UTF-8 U+FFFD, a secret `[secret]`; a line above the cap is cut.

    The output is a function of the bytes alone: it does not depend on how they are divided between calls of `feed`,
    on when `idle` is called, or on where a new object continues from `state()`.

    The line cap counts repaired text before masking. Each CR restarts the count, so that the end of a progress bar is
    kept. After a cut, everything up to the next CR or LF is dropped. A secret that begins before the cut is masked
    completely.

    Memory is limited to the line cap plus the longest form of a secret. Only a line that exceeds this, because it has
    many CRs, is returned by `feed` in parts. With `whole_lines`, `idle` returns nothing.
    """

    def __init__(
        self,
        masker: Masker,
        max_line_bytes: int,
        state: Mapping[str, int] | None = None,
        *,
        whole_lines: bool = False,
    ) -> None:
        state = state or {}
        self._masker = masker
        self._max_line_bytes = max_line_bytes
        self._max_held_bytes = max_line_bytes + masker.longest_bytes
        self._whole_lines = whole_lines
        # Raw bytes of the unfinished line whose text may still change. The other fields are the state before them.
        self._held = bytearray()
        # Size of the current piece so far; above the cap = it has been cut.
        self._piece_bytes = state.get("piece_bytes", 0)
        # How many of the next bytes belong to a secret that began earlier, and whether its mask is still to be written.
        self._secret_bytes = state.get("secret_bytes", 0)
        self._mask_due = bool(state.get("mask_due", False))
        # The byte before the held ones. It decides whether a run of base64 characters begins with them.
        self._previous = state.get("previous", LINE_FEED)

    @property
    def held_bytes(self) -> int:
        """The number of held raw bytes; a new object with `state()` has to be fed from the first of them on."""
        return len(self._held)

    def state(self) -> dict[str, int]:
        """The state from which a new object continues at the first held byte; JSON values."""
        return {
            "piece_bytes": self._piece_bytes,
            "secret_bytes": self._secret_bytes,
            "mask_due": int(self._mask_due),
            "previous": self._previous,
        }

    def feed(self, raw: bytes) -> bytes:
        """The text of the lines that `raw` completes."""
        if len(raw) <= _BLOCK_BYTES:
            return self._feed_block(raw)
        return b"".join(map(self._feed_block, _blocks(raw)))

    def idle(self) -> bytes:
        """The part of the unfinished line that later bytes cannot change; call it when the stream is silent."""
        return b"" if self._whole_lines or not self._held else self._release()

    def finish(self) -> bytes:
        """The text of all held bytes, at the stream's end."""
        text = repaired(bytes(self._held))
        self._held.clear()
        return self._shown(text, len(text))

    def _feed_block(self, raw: bytes) -> bytes:
        complete = raw.rfind(b"\n") + 1
        shown = b""
        if complete:
            lines = bytes(self._held) + raw[:complete] if self._held else raw[:complete]
            self._held.clear()
            text = repaired(_with_lf(lines))
            shown = self._shown(text, len(text))
        self._held += raw[complete:]
        return shown + self._release() if len(self._held) > self._max_held_bytes else shown

    def _release(self) -> bytes:
        raw = bytes(self._held)
        known = raw[: len(raw) - _pending_bytes(raw)]
        text = repaired(known)
        decided = len(text) - self._masker.pending_bytes(text, self._previous)
        self._held = bytearray(raw[_raw_offset(known, text[decided:]) :])
        return self._shown(text, decided)

    def _shown(self, text: bytes, end: int) -> bytes:
        """The output for `text[:end]`. The bytes from `end` on only show where secrets end; they are passed again."""
        spans = self._masker.spans(text, self._previous, unfinished=end < len(text))
        self._previous = text[end - 1] if end else self._previous
        if not spans and not self._secret_bytes:
            return b"".join(self._within_cap(text[:end]))
        if end == len(text) and not self._secret_bytes and not self._may_exceed_cap(text):
            self._count_piece(text)
            return _with_masks(text, spans)
        parts: list[bytes] = []
        at = 0
        covered = self._secret_bytes
        for start, stop in spans:
            if start >= end:
                break
            if start >= covered:
                parts += self._masked(text[at:covered])
                parts += self._within_cap(text[max(at, covered) : start])
                self._mask_due = True
                at = start
            covered = max(covered, stop)
        parts += self._masked(text[at : min(covered, end)])
        parts += self._within_cap(text[max(at, covered) : end])
        self._secret_bytes = max(0, covered - end)
        return b"".join(parts)

    def _masked(self, secret: bytes) -> Sequence[bytes]:
        """A mask instead of the part of the secret that would be shown; the line cap counts the secret itself."""
        shown: list[bytes] = []
        for part in self._within_cap(secret):
            if part is LINE_CUT:
                shown.append(part)
            elif self._mask_due:
                self._mask_due = False
                shown.append(MASK)
        return shown

    def _within_cap(self, text: bytes) -> Sequence[bytes]:
        """The parts of `text` within the line cap; `LINE_CUT` is a part of its own."""
        if self._may_exceed_cap(text):
            return [part for piece in _PIECE.findall(text) for part in self._cut(piece)]
        self._count_piece(text)
        return (text,) if text else ()

    def _count_piece(self, text: bytes) -> None:
        line_start = text.rfind(b"\n") + 1
        piece_start = max(line_start, text.rfind(b"\r", line_start) + 1)
        self._piece_bytes = len(text) - piece_start + (0 if piece_start else self._piece_bytes)

    def _may_exceed_cap(self, text: bytes) -> bool:
        room = self._max_line_bytes - self._piece_bytes
        return len(text) > room and max(map(len, text.replace(b"\r", b"\n").split(b"\n"))) > room

    def _cut(self, piece: bytes) -> Iterator[bytes]:
        line = piece.rstrip(b"\r\n")
        line_end = piece[len(line) :]
        room = self._max_line_bytes - self._piece_bytes
        if len(line) <= room:
            yield piece
        else:
            if room >= 0:
                yield from filter(None, (line[: character_start(line, room)],))
                yield LINE_CUT
            if line_end:
                yield line_end
        self._piece_bytes = 0 if line_end else min(self._piece_bytes + len(line), self._max_line_bytes + 1)


def _blocks(raw: bytes) -> Iterator[bytes]:
    """Parts of at most 64 KiB that end with a line feed if possible: no byte of such a part has to be held."""
    at = 0
    while at < len(raw):
        stop = at + _BLOCK_BYTES
        line_end = raw.rfind(b"\n", at, stop) + 1
        stop = line_end if stop < len(raw) and line_end else stop
        yield raw[at:stop]
        at = stop


def _with_masks(text: bytes, spans: Sequence[Span]) -> bytes:
    """`text` with each span replaced by a mask."""
    parts: list[bytes] = []
    at = 0
    for start, stop in spans:
        parts += (text[at:start], MASK)
        at = stop
    parts.append(text[at:])
    return b"".join(parts)


def _pending_bytes(raw: bytes) -> int:
    """The number of last bytes whose text depends on the next ones: a CR, or a part of a character."""
    if raw.endswith(b"\r"):
        return 1
    end = raw[-_LONGEST_CHARACTER_BYTES:]
    _, decoded_bytes = codecs.utf_8_decode(end, "replace", False)
    return len(end) - decoded_bytes


def _raw_offset(raw: bytes, tail: bytes) -> int:
    """The offset in `raw` of the bytes whose repaired text is `tail`, the end of the repaired text of `raw`."""
    at = len(raw) - len(tail)
    # Only U+FFFD can be longer than the bytes that it replaces. It is in a tail only if a secret contains it.
    if _REPLACEMENT in tail:
        at = next(at for at in range(max(0, at), len(raw)) if repaired(raw[at:]) == tail)
    return at


def _with_lf(lines: bytes) -> bytes:
    """Replace CRLF by LF. If every CR is part of a CRLF, dropping all CRs is twice as fast."""
    if b"\r" not in lines:
        return lines
    only_crlf = lines.count(b"\r") == lines.count(b"\r\n")
    return lines.replace(b"\r", b"") if only_crlf else lines.replace(b"\r\n", b"\n")
