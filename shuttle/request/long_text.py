"""Decoding of bodies with a source of many MiB: the long text is cut out, the rest is parsed, the text is put back.

The JSON parser is one call during which no other thread runs, and a string uses up to four times the memory of its
bytes. So it never parses more than a few MiB; the only long text in a body must be the source's data: URL.
"""

import json
import mmap
import re
from collections.abc import Iterator
from secrets import token_hex
from typing import Any

from shuttle.errors import BodyTooLargeError, InvalidJsonError
from shuttle.request.body import Gap, decode_json

# Parsing a smaller body takes at most 5 ms: the interpreter's switch interval, for which other threads wait anyway.
LARGE_BODY_BYTES = 1024 * 1024
# The largest request without a data: URL: metadata, arguments, secrets and 100 receivers with their headers.
MAX_JSON_BYTES = 4 * 1024 * 1024
# A body may have a million strings that begin with `data:`. Only the first ones are examined. A real request has few,
# so the source's URL is among them.
_MAX_STRINGS = 100
# A data: URL has quotes only around the values of its media type's parameters.
_MAX_QUOTES = 100
_BEGINNING = re.compile(rb'"data:', re.IGNORECASE)
# The parser's message about an error depends on this many characters before it.
_BEFORE_FAULT = 8
# No other thread runs while a piece is searched or unescaped: 5 ms for a piece of this size.
_PIECE_CHARACTERS = 1024 * 1024
# Takes the place of a URL that is not ASCII, and that may even be invalid UTF-8 or have lone surrogates. The check of
# data: URLs refuses every URL that is not ASCII with the same message.
_NOT_ASCII = "data:\x80"
_LONGEST_ESCAPE = len(r"\u002f")


def decode_large_json(raw: bytes | mmap.mmap) -> Any:
    """Decode a large body as `decode_json` does; to be called in a thread.

    Raises:
        BodyTooLargeError: the body has more than MAX_JSON_BYTES besides the data: URL.
    """
    if len(raw) <= MAX_JSON_BYTES:
        return decode_json(raw[:])
    start, end = _long_text(raw)
    if len(raw) - (end - start) > MAX_JSON_BYTES:
        raise _too_large()
    text, mark = _text(raw, start, end), token_hex().encode()
    value = decode_json(raw[:start] + mark + raw[end:], Gap(start + len(mark), end - start - len(mark)))
    place = _field_of(mark.decode(), value)
    if place is None:
        raise _too_large()
    within, name = place
    within[name] = text
    return value


def _long_text(raw: bytes | mmap.mmap) -> tuple[int, int]:
    """Start and end of the content of a long `"data:…"`; an empty span if there is none.

    The first quote of what is found may also end another string, or be a part of one. Then the mark that replaces the
    content does not become the value of the source's field, and the body is refused as too large.
    """
    end = 0
    for _ in range(_MAX_STRINGS):
        beginning = _BEGINNING.search(raw, end, end + MAX_JSON_BYTES)
        if beginning is None:
            break
        start = beginning.start() + 1
        end = _end_of_text(raw, start)
        if end < 0:
            break
        if end - start >= LARGE_BODY_BYTES:
            return start, end
    return 0, 0


def _end_of_text(raw: bytes | mmap.mmap, start: int) -> int:
    """The position of the closing quote, -1 if there is none."""
    end = start - 1
    for _ in range(_MAX_QUOTES):
        end = raw.find(b'"', end + 1)
        if end < 0:
            break
        before = raw[max(start, end - 1024) : end]
        if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
            return end
    return -1


def _text(raw: bytes | mmap.mmap, start: int, end: int) -> str:
    """The decoded content of these bytes of a JSON string."""
    with memoryview(raw) as whole, whole[start:end] as part:
        try:
            text = str(part, "ascii")
        except UnicodeDecodeError:
            return _NOT_ASCII
    if all(_is_plain(text[at : at + _PIECE_CHARACTERS]) for at in range(0, len(text), _PIECE_CHARACTERS)):
        return text
    unescaped = "".join(_unescaped(text, raw, start))
    return unescaped if unescaped.isascii() else _NOT_ASCII


def _unescaped(text: str, raw: bytes | mmap.mmap, start: int) -> Iterator[str]:
    """The text without its JSON escapes, such as the `\\/` of PHP, in pieces. `start` is its place in the body."""
    begin = 0
    while begin < len(text):
        piece = text[begin : begin + _PIECE_CHARACTERS]
        if begin + len(piece) < len(text):
            piece = piece[: _end_without_cut_escape(piece)]
        try:
            yield piece if _is_plain(piece) else json.loads(f'"{piece}"')
        except json.JSONDecodeError as error:
            position = start + begin + max(0, error.pos - 1 - _BEFORE_FAULT)
            rest = raw[start - 1 : start] + raw[position : position + 2 * _BEFORE_FAULT]
            prefix = raw[: start - 1]
            decode_json(prefix + rest, Gap(len(prefix) + 1, position - start))
            raise InvalidJsonError("The body is not JSON: a string in it is invalid.") from None
        begin += len(piece)


def _end_without_cut_escape(piece: str) -> int:
    """The length of the piece without an escape, such as `\\/` or `\\u002f`, that is cut off at the piece's end."""
    last = piece.rfind("\\", max(0, len(piece) - _LONGEST_ESCAPE + 1))
    if last < 0:
        return len(piece)
    is_escaped_itself = (last + 1 - len(piece[: last + 1].rstrip("\\"))) % 2 == 0
    length = _LONGEST_ESCAPE if piece[last + 1 : last + 2] == "u" else 2
    return len(piece) if is_escaped_itself or len(piece) - last >= length else last


def _is_plain(piece: str) -> bool:
    """Whether the piece of a JSON string is its own value: without escapes and control characters.

    Examining 60 MiB in one call takes 0.1 to 0.4 s.
    """
    return "\\" not in piece and piece.isprintable()


def _field_of(mark: str, value: Any) -> tuple[dict[str, Any], str] | None:
    """The object and the field of the source whose value is the mark, in either of the two APIs."""
    if isinstance(value, dict):
        for within, name in ((value.get("source"), "url"), (value, "sources")):
            if isinstance(within, dict) and within.get(name) == mark:
                return within, name
    return None


def _too_large() -> BodyTooLargeError:
    return BodyTooLargeError(f"Send at most {MAX_JSON_BYTES} bytes of JSON besides the source's data: URL.")
