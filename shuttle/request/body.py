"""The body of a request as a JSON value, and the one text in which equal JSON values are equal bytes."""

import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from shuttle.errors import InvalidJsonError
from shuttle.request.numbers import WrittenNumber, as_written, path_of, read_fraction

# As deep as Rust's and PHP's readers go by default, give or take; far below Python's own recursion limit.
_MAX_DEPTH = 200
# A body may have 64 MiB for a data: source's sake; as many million values would hold the service for half a minute.
_MAX_VALUES = 250_000
# The largest double has 309 digits; reading and writing longer integers takes quadratic time.
_MAX_DIGITS = 309
# Not the `.0` within `127.0.0.1` and `"2.0"`: after a number comes a comma, a bracket, or the end.
_WHOLE_DOUBLE = re.compile(r"\.0(?:[,}\]]|$)|e\+")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Gap:
    """Where bytes of a line are left out of a text: behind how many bytes of it, and how many characters they are."""

    start: int
    characters: int


def decode_json(raw: bytes, gap: Gap | None = None) -> Any:
    """The JSON value of a body; places in it are those before the `gap` was made.

    Integers are exact, other numbers are doubles (RFC 8259, 6) that keep their source text. Lone surrogates in strings
    are kept. A byte order mark is skipped (RFC 8259, 8.1).

    Raises:
        InvalidJsonError: with line and column (of characters, from 1) wherever the fault has a place.
    """
    if not raw.strip():
        raise InvalidJsonError("The body is empty; send a JSON object.")
    containers = raw.count(b"[") + raw.count(b"{")
    if containers + raw.count(b",") > _MAX_VALUES:
        raise InvalidJsonError(f"The body holds more than {_MAX_VALUES} values; send fewer.")
    try:
        text = raw.removeprefix(_BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        readable = error.object[: error.start].decode()
        raise InvalidJsonError(f"The body is not UTF-8 at {_place(readable, len(readable), gap)}.") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise InvalidJsonError(f"The body is not JSON: {_fault(error)} at {_place(text, error.pos, gap)}.") from None
    except RecursionError:
        raise _too_deep() from None
    except _TooLargeError as error:
        raise _too_large(error.text, text) from None
    if containers > _MAX_DEPTH and _deeper_than(value, _MAX_DEPTH):
        raise _too_deep()
    return value


def canonical_json(value: Any) -> bytes:
    """One text for all spellings of a JSON value: keys in order, no spaces, ASCII, `1.0` and `1e0` as `1`."""
    text = _CANONICAL.encode(value)
    # Only these two can be in the text of a whole double; most requests have none, so most are not walked.
    if _WHOLE_DOUBLE.search(text):
        text = _CANONICAL.encode(_with_whole_numbers(value))
    return text.encode()


def compact_json(value: Any) -> str:
    """`value` as the caller ordered it and wrote its numbers, without spaces, in ASCII (so that lone surrogates survive
    any store)."""
    return as_written(value, _COMPACT)


def _with_whole_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_whole_numbers(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(child) for child in value]
    if isinstance(value, float) and value.is_integer():
        # Through the shortest text of the double, so that 1e23 is the integer that people write for it.
        return int(Decimal(repr(value)))
    return value


class _TooLargeError(Exception):
    """A number that no double reaches."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def _read_integer(text: str) -> float:
    if len(text.lstrip("-")) > _MAX_DIGITS:
        raise _TooLargeError(text)
    return WrittenNumber(text) if text == "-0" else int(text)


def _read_fraction(text: str) -> float:
    number = read_fraction(text)
    if math.isinf(number):
        raise _TooLargeError(text)
    return number


def _too_large(number: str, text: str) -> InvalidJsonError:
    """Names the field of the first number that is too large: the body is read again, with something in its place."""
    place = object()

    def read(written: str) -> Any:
        return place if written == number else 0

    try:
        body = json.JSONDecoder(parse_float=read, parse_int=read).decode(text)
        field = path_of(place, body)
    except (json.JSONDecodeError, RecursionError):
        field = None
    named = f"Correct {field}" if field is not None else "The body is not usable"
    return InvalidJsonError(f"{named}: the number {number[:40]} is beyond the range of a double.", field=field)


def _refuse_constant(name: str) -> Any:
    raise InvalidJsonError(f"The body is not JSON: {name} is no JSON value; write null or a number.")


_DECODER = json.JSONDecoder(parse_float=_read_fraction, parse_int=_read_integer, parse_constant=_refuse_constant)
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_COMPACT = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


def _fault(error: json.JSONDecodeError) -> str:
    here, before = error.doc[error.pos : error.pos + 1], error.doc[: error.pos].rstrip()
    if here in {"}", "]"} and before.endswith(","):
        return "a trailing comma"
    if not here:
        return "it ends too early"
    return error.msg[:1].lower() + error.msg[1:].removesuffix(" at")


def _place(text: str, position: int, gap: Gap | None) -> str:
    line = text.count("\n", 0, position) + 1
    line_start = text.rfind("\n", 0, position) + 1
    column = position - line_start + 1
    if gap is not None and len(text[:line_start].encode()) <= gap.start <= len(text[:position].encode()):
        column += gap.characters
    return f"line {line} column {column}"


def _too_deep() -> InvalidJsonError:
    return InvalidJsonError(f"The body is nested deeper than {_MAX_DEPTH} levels; send a flatter one.")


def _deeper_than(value: Any, levels: int) -> bool:
    layer = [value] if isinstance(value, (dict, list)) else []
    for _ in range(levels):
        layer = [
            child
            for parent in layer
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not layer:
            return False
    return True
