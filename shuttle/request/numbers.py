"""JSON numbers that keep the caller's text if a double would print another one, and the field that an error names."""

import json
import re
from collections import deque
from collections.abc import Iterator
from secrets import token_hex
from typing import Any


class WrittenNumber(float):
    """A double whose own text differs from the caller's (`1.50`, `1e-400`, twenty digits); serialized as `text`."""

    text: str

    def __new__(cls, text: str) -> "WrittenNumber":
        """The double nearest to the text."""
        number = super().__new__(cls, text)
        number.text = text
        return number


def read_fraction(text: str) -> float:
    """The double of a JSON number, infinite if it is too large; a hook for the JSON parser."""
    number = float(text)
    return number if repr(number) == text else WrittenNumber(text)


def as_written(value: Any, encoder: json.JSONEncoder) -> str:
    """The value's JSON with each number as the caller wrote it."""
    texts: list[str] = []
    mark = token_hex()

    def marked(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: marked(child) for key, child in part.items()}
        if isinstance(part, list):
            return [marked(child) for child in part]
        if isinstance(part, WrittenNumber):
            texts.append(part.text)
            return f"{mark}{len(texts) - 1}"
        return part

    text = encoder.encode(marked(value))
    return re.sub(rf'"{mark}([0-9]+)"', lambda found: texts[int(found[1])], text) if texts else text


def path_of(wanted: object, value: Any) -> str | None:
    """The path of the field whose value is this object, as errors name it; within metadata just `metadata`."""
    places: deque[tuple[str, Any]] = deque([("", value)])
    while places:
        path, part = places.popleft()
        if part is wanted:
            return path or None
        places.extend(_children(path, part))
    return None


def _children(path: str, part: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(part, dict):
        for key, child in part.items():
            yield path if path == "metadata" else f"{path}.{key}" if path else key, child
    elif isinstance(part, list):
        for index, child in enumerate(part):
            yield path if path == "metadata" else f"{path}[{index}]", child
