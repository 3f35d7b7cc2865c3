"""Finds the parts of a secret in wrapped base64 text, where no single line contains the whole secret."""

from collections.abc import Iterable
from string import ascii_letters, digits

from shuttle.logs.pattern_search import HEAD_BYTES, Span

# A shorter part contains less than 6 bytes of the secret.
_MIN_PART_CHARACTERS = 8
# The most characters between the beginnings of two keys. So every line of 30 characters contains a whole key; the first
# and the last line of a value contain the key at its beginning or end, and may be shorter.
_STEP = 24
# More than the line length of any tool.
_MAX_COLUMNS = 128
# The limit for a value that repeats itself, and for several values that begin or end alike.
_MAX_PLACES_OF_A_KEY = 8
# The characters of both kinds of base64.
_ALPHABET = (ascii_letters + digits + "+/-_").encode()


class WrappedBase64:
    """Finds parts of `cores`: a part extends to the ends of the core or of the run of base64 characters around it."""

    def __init__(self, cores: Iterable[bytes]) -> None:
        ordered = sorted(set(cores))
        self._places: dict[bytes, list[tuple[bytes, int]]] = {}
        for core in ordered:
            for at in key_places(len(core)):
                places = self._places.setdefault(core[at : at + HEAD_BYTES], [])
                if len(places) < _MAX_PLACES_OF_A_KEY:
                    places.append((core, at))
        self._all = b"\n".join(ordered)

    @property
    def reach_bytes(self) -> int:
        """The longest distance of a part's ends from its key."""
        return _MAX_COLUMNS

    @property
    def keys(self) -> Iterable[bytes]:
        """The keys; every part contains one."""
        return self._places

    def around(self, text: bytes, at: int, previous: int) -> list[Span]:
        """The parts that contain the key at `at`."""
        run_start, run_end = _run_start(text, at), _run_end(text, at)
        begins_run = run_start > 0 or previous not in _ALPHABET
        parts: list[Span] = []
        for core, place in self._places[text[at : at + HEAD_BYTES]]:
            start, end = at - place, at + len(core) - place
            if place > _MAX_COLUMNS or start < run_start or text[start:at] != core[:place]:
                start = run_start
                before = at - start
                if (
                    not begins_run
                    or before > min(place, _MAX_COLUMNS)
                    or text[start:at] != core[place - before : place]
                ):
                    continue
            if end - at > _MAX_COLUMNS or end > run_end or text[at:end] != core[place:]:
                end = run_end
                length = end - at
                if length > min(len(core) - place, _MAX_COLUMNS) or text[at:end] != core[place : place + length]:
                    continue
            if end - start >= _MIN_PART_CHARACTERS:
                parts.append((start, end))
        return parts

    def pending_bytes(self, line: bytes, previous: int) -> int:
        """The length of the run at the end of an unfinished line if a core contains the run; else 0."""
        tail = line[-_MAX_COLUMNS - 1 :]
        run = tail[_run_start(tail, len(tail)) :]
        if not run or len(run) > _MAX_COLUMNS or (len(run) == len(line) and previous in _ALPHABET):
            return 0
        return len(run) if run in self._all else 0


def key_places(length: int) -> list[int]:
    """The offsets of a core's keys: at both of its ends, and evenly between them."""
    last = length - HEAD_BYTES
    steps = -(-last // _STEP)
    return [last * number // steps for number in range(steps + 1)] if steps > 0 else [0][: last + 1]


def _run_start(text: bytes, at: int) -> int:
    before = text[max(0, at - _MAX_COLUMNS - 1) : at]
    return at - len(before) + len(before.rstrip(_ALPHABET))


def _run_end(text: bytes, at: int) -> int:
    following = text[at : at + _MAX_COLUMNS + 1]
    return at + len(following) - len(following.lstrip(_ALPHABET))
