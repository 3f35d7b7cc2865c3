"""Data as YAML: blocks of `key: value`, all strings in double quotes."""

import json
from typing import Any, Iterator


def yaml_lines(data: Any, indent: str = "") -> Iterator[str]:
    """Yield the lines of a document."""
    if isinstance(data, dict) and data:
        for key, value in data.items():
            yield from _entry(indent + json.dumps(key) + ":", value, indent + "  ")
    elif isinstance(data, list) and data:
        for value in data:
            yield from _entry(indent + "-", value, indent + "  ")
    else:
        yield indent + json.dumps(data)


def _entry(head: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, (dict, list)) and value:
        yield head
        yield from yaml_lines(value, indent)
    else:
        yield head + " " + json.dumps(value)
