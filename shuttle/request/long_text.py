"""Bodies with a source of many MiB in them: parsed without it, and with it put back.

The JSON reader is one call in which no other thread runs, and text takes up to four times the memory of its bytes. So
it reads a few MiB at most, whatever the body holds; what is long has to be the source's data: URL.
"""

import json
import mmap
import re
from secrets import token_hex
from typing import Any

from shuttle.errors import BodyTooLargeError, InvalidJsonError
from shuttle.request.body import Gap, decode_json

# Reading less takes 5 ms at most, as long as others wait for their turn beside a busy thread anyway.
LARGE_BODY_BYTES = 1024 * 1024
# The largest request without a data: URL: metadata, arguments, secrets and 100 receivers with their headers.
MAX_JSON_BYTES = 4 * 1024 * 1024
# A source is one of the first texts; a body of a million short ones is not looked through.
_MOST_TEXTS = 100
# A data: URL has quotes around the values of its type's parameters only.
_MOST_QUOTES = 100
_BEGINNING = re.compile(rb'"data:', re.IGNORECASE)
# Characters before the place of a fault that its description depends on.
_BEFORE_FAULT = 8


def decode_large_json(raw: bytes | mmap.mmap) -> Any:
    """As `decode_json`; for a thread of its own.

    Raises:
        BodyTooLargeError: more than MAX_JSON_BYTES beside the text of a data: URL.
    """
    if len(raw) <= MAX_JSON_BYTES:
        return decode_json(raw[:])
    start, end = _long_text(raw)
    if len(raw) - (end - start) > MAX_JSON_BYTES:
        raise _too_large()
    text, mark = _text(raw, start, end), token_hex().encode()
    value = decode_json(raw[:start] + mark + raw[end:], Gap(start + len(mark), end - start - len(mark)))
    place = _place_of(mark.decode(), value)
    if place is None:
        raise _too_large()
    within, name = place
    within[name] = text
    return value


def _long_text(raw: bytes | mmap.mmap) -> tuple[int, int]:
    """Where the insides of a long `"data:…"` are; an empty span = there is none.

    Its first quote may be another text's end, or a part of one: then the mark is not in a source's place alone.
    """
    end = 0
    for _ in range(_MOST_TEXTS):
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
    """Where its last quote is; -1 without one."""
    end = start - 1
    for _ in range(_MOST_QUOTES):
        end = raw.find(b'"', end + 1)
        if end < 0:
            break
        before = raw[max(start, end - 1024) : end]
        if (len(before) - len(before.rstrip(b"\\"))) % 2 == 0:
            return end
    return -1


def _text(raw: bytes | mmap.mmap, start: int, end: int) -> str:
    """What these bytes of a JSON string say."""
    with memoryview(raw) as whole, whole[start:end] as part:
        try:
            text = str(part, "ascii")
        except UnicodeDecodeError:
            return "data:\x80"  # refused for the same reason as the whole of it
    if "\\" in text or not text.isprintable():
        try:
            unescaped: str = json.loads(f'"{text}"')
        except json.JSONDecodeError as error:
            position = start + max(0, error.pos - 1 - _BEFORE_FAULT)
            rest = raw[start - 1 : start] + raw[position : position + 2 * _BEFORE_FAULT]
            prefix = raw[: start - 1]
            decode_json(prefix + rest, Gap(len(prefix) + 1, position - start))
            raise InvalidJsonError("The body is not JSON: a text in it has a fault.") from None
        return unescaped
    return text


def _place_of(mark: str, value: Any) -> tuple[dict[str, Any], str] | None:
    """The object and the name in it: the source's place in one of the two APIs."""
    if isinstance(value, dict):
        for within, name in ((value.get("source"), "url"), (value, "sources")):
            if isinstance(within, dict) and within.get(name) == mark:
                return within, name
    return None


def _too_large() -> BodyTooLargeError:
    return BodyTooLargeError(f"Send at most {MAX_JSON_BYTES} bytes of JSON beside the source's data: URL.")
