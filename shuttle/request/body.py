"""Decoding of a request's body from JSON, and the canonical JSON text, equal for equal values."""

import json
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from shuttle.errors import InvalidJsonError, shortened
from shuttle.request.numbers import WrittenNumber, as_written, path_of, read_fraction

# Between the defaults of Rust's serde_json (128) and PHP (512); far below Python's recursion limit.
_MAX_DEPTH = 200
# A body may have 64 MiB because of data: sources. Decoding as many small values as fit into 64 MiB would block the
# service for half a minute.
_MAX_VALUES = 250_000
# The largest double has 309 digits; reading and writing longer integers takes quadratic time.
_MAX_DIGITS = 309
# `1e300` has 301 digits in the canonical text. 250,000 of them would take 75 MB of memory and some seconds.
_LARGE = 1e22
_MAX_LARGE_DIGITS = 1_000_000
# Not the `.0` within `127.0.0.1` and `"2.0"`: after a number comes a comma, a bracket, or the end.
_WHOLE_DOUBLE = re.compile(r"\.0(?:[,}\]]|$)|e\+")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Gap:
    """A part that was cut out of a line: `start` bytes of the text precede it, and it was `characters` long."""

    start: int
    characters: int


def decode_json(raw: bytes, gap: Gap | None = None) -> Any:
    """The JSON value of a body. Positions in errors refer to the text before the `gap` was cut out.

    Integers are exact. Other numbers are IEEE 754 double precision (RFC 8259, 6) and keep their source text. No number
    may be larger than the largest double. Lone surrogates in strings are kept. A byte order mark is skipped (RFC 8259,
    8.1).

    Raises:
        InvalidJsonError: with line and column (in characters, from 1) if the error has a position.
    """
    if not raw.strip():
        raise InvalidJsonError("The body is empty; send a JSON object.")
    containers = raw.count(b"[") + raw.count(b"{")
    if containers + raw.count(b",") > _MAX_VALUES:
        raise InvalidJsonError(f"The body has more than {_MAX_VALUES} values; send fewer.")
    try:
        text = raw.removeprefix(_BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        readable = error.object[: error.start].decode()
        raise InvalidJsonError(f"The body is not UTF-8 at {_position(readable, len(readable), gap)}.") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise InvalidJsonError(f"The body is not JSON: {_fault(error)} at {_position(text, error.pos, gap)}.") from None
    except RecursionError:
        raise _too_deep() from None
    except _TooLargeError as error:
        raise _too_large(error.text, text) from None
    if containers > _MAX_DEPTH and _deeper_than(value, _MAX_DEPTH):
        raise _too_deep()
    return value


def canonical_json(value: Any) -> bytes:
    """The canonical text of a JSON value: sorted keys, no spaces, ASCII, `1.0` and `1e0` as `1`.

    Raises InvalidJsonError: numbers like `1e300` would make it much longer than the body was.
    """
    text = _CANONICAL.encode(value)
    # The text of a whole double has one of these two. Most requests have none, so their values are not traversed.
    if _WHOLE_DOUBLE.search(text):
        text = _CANONICAL.encode(_WholeNumbers().of(value))
    return text.encode()


def compact_json(value: Any) -> str:
    """The value without spaces, with the caller's order of keys and spelling of numbers; in ASCII, so that any store
    can keep lone surrogates."""
    return as_written(value, _COMPACT)


class _WholeNumbers:
    """Converts doubles without a fraction to integers, which are written with all their digits."""

    def __init__(self) -> None:
        self._digits = 0

    def of(self, value: Any) -> Any:
        """The converted value. Raises InvalidJsonError: the integers have too many digits."""
        if isinstance(value, dict):
            return {key: self.of(child) for key, child in value.items()}
        if isinstance(value, list):
            return [self.of(child) for child in value]
        if isinstance(value, float) and value.is_integer():
            return self._whole(value)
        return value

    def _whole(self, value: float) -> int:
        if abs(value) >= _LARGE:
            self._digits += int(math.log10(abs(value)))
            if self._digits > _MAX_LARGE_DIGITS:
                raise InvalidJsonError(f"The numbers above {_LARGE:g} have too many digits in all; send fewer of them.")
        # Converted from the shortest text of the double, so that 1e23 becomes the integer 10**23.
        return int(Decimal(repr(value)))


class _TooLargeError(Exception):
    """A number beyond the range of a double."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def _read_integer(text: str) -> float:
    digits = len(text.removeprefix("-"))
    # Most JSON parsers read every number as a double: a larger integer would become infinity.
    if digits > _MAX_DIGITS or (digits == _MAX_DIGITS and math.isinf(float(text))):
        raise _TooLargeError(text)
    return WrittenNumber(text) if text == "-0" else int(text)


def _read_fraction(text: str) -> float:
    number = read_fraction(text)
    if math.isinf(number):
        raise _TooLargeError(text)
    return number


def _too_large(number: str, text: str) -> InvalidJsonError:
    """The error for a number that is too large. Its field is found by reading the body again with a marker for it."""
    marker = object()

    def read(written: str) -> Any:
        return marker if written == number else 0

    try:
        body = json.JSONDecoder(parse_float=read, parse_int=read).decode(text)
        field = path_of(marker, body)
    except (json.JSONDecodeError, RecursionError):
        field = None
    named = f"Correct {shortened(field)}" if field is not None else "The body is not usable"
    return InvalidJsonError(f"{named}: the number {number[:40]} is beyond the range of a double.", field=field)


def _refuse_constant(name: str) -> Any:
    raise InvalidJsonError(f"The body is not JSON: {name} is not a JSON value; write null or a number.")


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


def _position(text: str, position: int, gap: Gap | None) -> str:
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
