"""Jenkins' raw bytes to the log's bytes: a pure function of the bytes and the rules, however the bytes are cut."""

import re
from collections.abc import Mapping
from copy import copy
from typing import Self

from shuttle.logs import LogRules
from shuttle.logs.engine_lines import EngineLines
from shuttle.logs.mask import Masker

LINE_CUT = b" [line cut here: it is longer than SHUTTLE_MAX_LINE_BYTES]"
LOG_CUT = b"-----> The log ends here: it has reached SHUTTLE_MAX_LOG_BYTES. The build goes on.\n"

# What is worked on at once: large enough that Python's share is small (measured: no gain above), small enough that
# the loop is held for under a millisecond.
_BLOCK_BYTES = 64 * 1024
# An incomplete UTF-8 sequence at the end of a prefix: at most 3 bytes that more input could change.
_UNDECIDED_BYTES = 4
_LONE_CR = re.compile(rb"\r(?!\n)")


class LogTransform:
    """One build's transformation, from `state` (of an earlier `state()`) or from the beginning.

    `written_bytes` is what the log holds already when there is no state; the byte cap counts it.
    CRLF becomes LF, invalid UTF-8 U+FFFD, the engine's lines and the secrets go, long lines and a long log are cut.
    The line cap counts a line before its secrets are replaced. Holds back an unfinished line, at most the line cap and
    the longest form of a secret, and nothing else.
    """

    def __init__(self, rules: LogRules, state: Mapping[str, int] | None = None, *, written_bytes: int = 0) -> None:
        state = state or {}
        self._masker = Masker(rules.secrets)
        self._engine = None if rules.keep_engine_lines else EngineLines(state)
        self._max_line_bytes = rules.max_line_bytes
        # A secret that begins before the cut ends within this: it is replaced whole.
        self._decided_bytes = rules.max_line_bytes + self._masker.longest_bytes
        self._room_until = max(0, rules.max_log_bytes - len(LOG_CUT) - 1)
        self._written_bytes = state.get("written_bytes", written_bytes)
        self._capped = bool(state.get("capped", False))
        self._in_cut_line = bool(state.get("in_cut_line", False))
        self._ends_in_line = bool(state.get("ends_in_line", False))
        self._unfinished = bytearray()

    @property
    def written_bytes(self) -> int:
        """The log's length so far, as the byte cap counts it."""
        return self._written_bytes

    def state(self) -> Mapping[str, int] | None:
        """What a new LogTransform needs to go on from here, as JSON values; None while a line is unfinished."""
        if self._unfinished:
            return None
        return {
            **(self._engine.state() if self._engine else {}),
            "written_bytes": self._written_bytes,
            "capped": int(self._capped),
            "in_cut_line": int(self._in_cut_line),
            "ends_in_line": int(self._ends_in_line),
        }

    def __copy__(self) -> Self:
        """A transformation of its own from here on; the automata, which never change, are shared."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._engine = copy(self._engine)
        twin._unfinished = bytearray(self._unfinished)
        return twin

    def feed(self, raw: bytes) -> bytes:
        """The bytes that the log grows by."""
        if self._capped:
            return b""
        if len(raw) <= _BLOCK_BYTES:
            return self._feed_block(raw)
        return b"".join(self._feed_block(raw[at : at + _BLOCK_BYTES]) for at in range(0, len(raw), _BLOCK_BYTES))

    def finish(self) -> bytes:
        """The last line, when it lacks its LF; to be called once Jenkins' text is at its end."""
        line = _repaired(bytes(self._unfinished))
        self._unfinished.clear()
        if not line or self._owned(line):
            return b""
        return self._within_cap(self._shown(line) + (b"\n" if len(line) > self._max_line_bytes else b""))

    def own_lines(self, text: str) -> bytes:
        """Lines of the shuttle's own, before Jenkins' text or after `finish`: masked, cut, counted like the others."""
        lines = _repaired(text.encode(errors="surrogatepass")).removesuffix(b"\n").split(b"\n")
        start = b"\n" if self._ends_in_line else b""
        return self._within_cap(start + b"".join(self._shown(line) + b"\n" for line in lines))

    def _feed_block(self, raw: bytes) -> bytes:
        if self._in_cut_line:
            _, line_end, raw = raw.partition(b"\n")
            self._in_cut_line = not line_end
        finished = raw.rfind(b"\n") + 1
        if not finished:
            self._unfinished += raw
            return self._cut_unfinished()
        lines = bytes(self._unfinished) + raw[:finished] if self._unfinished else raw[:finished]
        self._unfinished = bytearray(raw[finished:])
        return self._within_cap(self._transformed(lines)) + self._cut_unfinished()

    def _transformed(self, lines: bytes) -> bytes:
        lines = _repaired(_with_lf(lines))
        if len(lines) > self._max_line_bytes:
            return self._transformed_one_by_one(lines)
        return self._masker.mask(self._engine.removed_from(lines) if self._engine else lines)

    def _transformed_one_by_one(self, lines: bytes) -> bytes:
        """A block that may hold a line above the cap."""
        kept = (line for line in lines[:-1].split(b"\n") if not self._owned(line))
        return b"".join(self._shown(line) + b"\n" for line in kept)

    def _cut_unfinished(self) -> bytes:
        """Let go of a line that is too long already: its end will not be shown, so it is not awaited."""
        if len(self._unfinished) < self._decided_bytes + _UNDECIDED_BYTES:
            return b""
        line = _repaired(bytes(self._unfinished))
        self._unfinished.clear()
        self._in_cut_line = True
        if self._owned(line):
            return b""
        return self._within_cap(self._shown(line) + b"\n")

    def _owned(self, line: bytes) -> bool:
        return self._engine is not None and self._engine.owns(line[: self._decided_bytes])

    def _shown(self, line: bytes) -> bytes:
        """One line without its LF: masked, and cut between two characters if it is above the cap."""
        if len(line) <= self._max_line_bytes:
            return self._masker.mask(line)
        end = self._max_line_bytes
        # 10xxxxxx: a character goes on here.
        while end and line[end] & 0xC0 == 0x80:
            end -= 1
        return self._masker.mask_up_to(line[: self._decided_bytes], end) + LINE_CUT

    def _within_cap(self, lines: bytes) -> bytes:
        """`lines`, or as many of them as there is room for and the notice."""
        if self._capped or not lines:
            return b""
        if self._written_bytes + len(lines) > self._room_until:
            self._capped = True
            fitting = lines[: lines.rfind(b"\n", 0, max(0, self._room_until - self._written_bytes)) + 1]
            lines = fitting + (b"\n" if self._ends_in_line and not fitting else b"") + LOG_CUT
        self._written_bytes += len(lines)
        self._ends_in_line = not lines.endswith(b"\n")
        return lines


def transform_line(text: str, rules: LogRules, *, written_bytes: int = 0) -> str:
    """Lines of the preamble as the log holds them; `written_bytes` is the log's length before them."""
    return LogTransform(rules, written_bytes=written_bytes).own_lines(text).decode()


def _with_lf(lines: bytes) -> bytes:
    """CRLF becomes LF. Where each CR is of a CRLF, as in what Jenkins sends, dropping them all is twice as fast."""
    if b"\r" not in lines:
        return lines
    return lines.replace(b"\r\n", b"\n") if _LONE_CR.search(lines) else lines.replace(b"\r", b"")


def _repaired(text: bytes) -> bytes:
    if text.isascii():
        return text
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode(errors="replace").encode()
    return text
