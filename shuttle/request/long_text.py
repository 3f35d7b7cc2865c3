"""Decoding of bodies with a source of many MiB: the long text is cut out, the rest is parsed, the text is put back.

The JSON parser is one call during which no other thread runs, and a string uses up to four times the memory of its
bytes. So it never parses more than a few MiB; the only long text in a body must be the source's data: URL.
"""

import json
import mmap
import re
from secrets import token_hex
from typing import Any

from shuttle.errors import BodyTooLargeError, InvalidJsonError
from shuttle.request.body import Gap, decode_json

# Parsing a smaller body takes at most 5 ms: the interpreter's switch interval, which other threads wait anyway.
LARGE_BODY_BYTES = 1024 * 1024
# The largest request without a data: URL: metadata, arguments, secrets and 100 receivers with their headers.
MAX_JSON_BYTES = 4 * 1024 * 1024
# The source is one of the first strings; a body of a million short ones is not searched.
_MAX_STRINGS = 100
# A data: URL has quotes only around the values of its media type's parameters.
_MAX_QUOTES = 100
_BEGINNING = re.compile(rb'"data:', re.IGNORECASE)
# The parser's message about an error depends on this many characters before it.
_BEFORE_FAULT = 8


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

    Its first quote may also end another string or be a part of one. Then the mark that replaces the content is not the
    value of the source's field.
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
            return "data:\x80"  # refused for the same reason as the whole text
    if "\\" in text or not text.isprintable():
        try:
            unescaped: str = json.loads(f'"{text}"')
        except json.JSONDecodeError as error:
            position = start + max(0, error.pos - 1 - _BEFORE_FAULT)
            rest = raw[start - 1 : start] + raw[position : position + 2 * _BEFORE_FAULT]
            prefix = raw[: start - 1]
            decode_json(prefix + rest, Gap(len(prefix) + 1, position - start))
            raise InvalidJsonError("The body is not JSON: a string in it is invalid.") from None
        return unescaped
    return text


def _field_of(mark: str, value: Any) -> tuple[dict[str, Any], str] | None:
    """The object and the field of the source whose value is the mark, in either of the two APIs."""
    if isinstance(value, dict):
        for within, name in ((value.get("source"), "url"), (value, "sources")):
            if isinstance(within, dict) and within.get(name) == mark:
                return within, name
    return None


def _too_large() -> BodyTooLargeError:
    return BodyTooLargeError(f"Send at most {MAX_JSON_BYTES} bytes of JSON besides the source's data: URL.")
