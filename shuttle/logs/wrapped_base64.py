"""Finds the parts of a secret in wrapped base64 text, where no single line contains the whole secret."""

from collections.abc import Iterable
from string import ascii_letters, digits

from shuttle.logs.pattern_search import HEAD_BYTES, Span

# A shorter part contains less than 6 bytes of the secret.
_MIN_PART_CHARACTERS = 8
# The most characters between the beginnings of two keys. So every line of 30 characters contains a whole key; the first
# and the last line of a value contain the key at its beginning or end, and may be shorter.
_STEP = 24
# The limit for a value that repeats itself, and for several values that begin or end alike.
_MAX_PLACES_OF_A_KEY = 8
# The characters of both kinds of base64.
_ALPHABET = (ascii_letters + digits + "+/-_").encode()
# With `translate`, the ends of a run of 1000 characters are found in half the time of `lstrip` and `rstrip` (measured).
_OUTSIDE = b" "
_KINDS = bytes(byte if byte in _ALPHABET else _OUTSIDE[0] for byte in range(256))


class WrappedBase64:
    """Finds parts of `cores`: a part extends to the ends of the core or of the run of base64 characters around it.

    The cores are patterns of the masker, too. So in an unfinished line, text with which a core begins is held as the
    beginning of a pattern; `pending_bytes` holds a run that begins within a core.
    """

    def __init__(self, cores: Iterable[bytes]) -> None:
        ordered = sorted(set(cores))
        self._places: dict[bytes, list[tuple[bytes, int]]] = {}
        for core in ordered:
            for at in key_places(len(core)):
                places = self._places.setdefault(core[at : at + HEAD_BYTES], [])
                if len(places) < _MAX_PLACES_OF_A_KEY:
                    places.append((core, at))
        self._all = b"\n".join(ordered)
        self._longest_bytes = max(map(len, ordered), default=0)

    @property
    def reach_bytes(self) -> int:
        """The longest distance of a part's ends from its key."""
        return self._longest_bytes

    @property
    def keys(self) -> Iterable[bytes]:
        """The keys; every part contains one."""
        return self._places

    def around(self, text: bytes, at: int, previous: int, *, unfinished: bool) -> list[Span]:
        """The parts that contain the key at `at`. The run at the end of an unfinished text has not ended."""
        run_start, run_end = self._run(text, at)
        begins_run = run_start > 0 or previous not in _ALPHABET
        parts: list[Span] = []
        for core, place in self._places[text[at : at + HEAD_BYTES]]:
            start, end = at - place, at + len(core) - place
            if start < run_start or text[start:at] != core[:place]:
                start = run_start
                before = at - start
                if not begins_run or before > place or text[start:at] != core[place - before : place]:
                    continue
            if end > run_end or text[at:end] != core[place:]:
                end = run_end
                length = end - at
                if length > len(core) - place or text[at:end] != core[place : place + length]:
                    continue
                if unfinished and end == len(text):
                    continue
            if end - start >= _MIN_PART_CHARACTERS:
                parts.append((start, end))
            if (start, end) == (run_start, run_end):
                break
        return parts

    def pending_bytes(self, line: bytes, previous: int) -> int:
        """The length of the run at the end of an unfinished line if a core contains the run; else 0.

        Of a run longer than every core, later bytes change no part that begins where the run begins.
        """
        tail = line[max(0, len(line) - self._longest_bytes - 1) :]
        run = tail[len(tail.rstrip(_ALPHABET)) :]
        if not run or len(run) > self._longest_bytes or (len(run) == len(line) and previous in _ALPHABET):
            return 0
        return len(run) if run in self._all else 0

    def _run(self, text: bytes, at: int) -> Span:
        """The run around `at`; where it is longer than any core, only so much of it that it cannot end a part."""
        first = max(0, at - self._longest_bytes - 1)
        window = text[first : at + self._longest_bytes + 1].translate(_KINDS)
        end = window.find(_OUTSIDE, at - first)
        return first + window.rfind(_OUTSIDE, 0, at - first) + 1, first + (end if end >= 0 else len(window))


def key_places(length: int) -> list[int]:
    """The offsets of a core's keys: at both of its ends, and evenly between them."""
    last = length - HEAD_BYTES
    steps = -(-last // _STEP)
    return [last * number // steps for number in range(steps + 1)] if steps > 0 else [0][: last + 1]
