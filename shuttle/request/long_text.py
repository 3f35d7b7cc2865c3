"""Bodies with a source of many MiB in them: parsed without it, and with it put back, so that others can run meanwhile.

Over 60 MB the JSON reader is one call of 0.1 s in which no other thread runs, and what prepares it takes as long again.
"""

from secrets import token_hex
from typing import Any

from shuttle.errors import InvalidJsonError
from shuttle.request.body import decode_json

# Reading less takes 5 ms at most, as long as others wait for their turn beside a busy thread anyway.
LARGE_BODY_BYTES = 1024 * 1024
_PIECE_BYTES = 1024 * 1024
# A source is one of the first texts; a body of a million short ones is not looked through.
_MOST_TEXTS = 100
# What is itself within a JSON string.
_PLAIN = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\')


def decode_large_json(raw: bytes) -> Any:
    """As `decode_json`; for a thread of its own."""
    start, end = _long_text(raw)
    if start == end:
        return decode_json(raw)
    mark = token_hex()
    try:
        value = decode_json(raw[:start] + mark.encode() + raw[end:])
    except InvalidJsonError:
        return decode_json(raw)  # it says where in all of it
    place = _place_of(mark, value)
    if place is None:
        return decode_json(raw)
    within, name = place
    within[name] = str(memoryview(raw)[start:end], "ascii")
    return value


def _long_text(raw: bytes) -> tuple[int, int]:
    """Where the insides of a long `"data:…"` are; an empty span = there is none without escapes in it.

    Its first quote may be another text's end, or a part of one: then the mark is not in a source's place alone.
    """
    end = 0
    for _ in range(_MOST_TEXTS):
        start = raw.find(b'"data:', end) + 1
        end = raw.find(b'"', start)
        if start == 0 or end < 0:
            break
        if end - start >= LARGE_BODY_BYTES:
            return (start, end) if _is_plain(raw, start, end) else (0, 0)
    return 0, 0


def _is_plain(raw: bytes, start: int, end: int) -> bool:
    pieces = (raw[at : min(at + _PIECE_BYTES, end)] for at in range(start, end, _PIECE_BYTES))
    return not any(piece.translate(None, _PLAIN) for piece in pieces)


def _place_of(mark: str, value: Any) -> tuple[dict[str, Any], str] | None:
    """The object and the name in it: the source's place in one of the two APIs."""
    if isinstance(value, dict):
        for within, name in ((value.get("source"), "url"), (value, "sources")):
            if isinstance(within, dict) and within.get(name) == mark:
                return within, name
    return None
