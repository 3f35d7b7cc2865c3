"""Rows as tables for people, and as plain text for `cut` and `awk`."""

import json
from typing import Any, Iterator, List, Sequence

from bldst.answers import printable

_WIDTH = 60


def as_table(data: Any, columns: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a table; a single row has one line for each field."""
    if not isinstance(data, list):
        yield from _fields(data, separator="  ")
        return
    if not data:
        yield "none"
        return
    names = _columns(data, columns)
    cells = [[name.replace("_", " ").replace(".name", "").upper() for name in names]]
    cells += [[_cell(row, name)[:_WIDTH] for name in names] for row in data]
    widths = [max(len(line[place]) for line in cells) for place in range(len(names))]
    for line in cells:
        yield "  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip()


def as_text(data: Any, columns: Sequence[str]) -> Iterator[str]:
    """Yield a line for each row, with tabs between its values; for a single row one line for each field."""
    if not isinstance(data, list):
        yield from _fields(data, separator="\t")
        return
    names = _columns(data, columns)
    for row in data:
        yield "\t".join(_cell(row, name) for name in names)


def _fields(data: Any, separator: str) -> Iterator[str]:
    if not isinstance(data, dict):
        if data is not None:
            yield shown(data)
        return
    width = max(map(len, data), default=0) if separator.isspace() and "\t" not in separator else 0
    for name, value in data.items():
        yield (printable(name).ljust(width) + separator + shown(value)).rstrip()


def _columns(rows: List[Any], columns: Sequence[str]) -> Sequence[str]:
    """Those of `columns` that the rows have; if they have none, all fields that are neither lists nor objects."""
    first = rows[0] if rows and isinstance(rows[0], dict) else {}
    known = [name for name in columns if name.partition(".")[0] in first]
    return known or [name for name, value in first.items() if not isinstance(value, (dict, list))] or ["value"]


def _cell(row: Any, name: str) -> str:
    if not isinstance(row, dict):
        return shown(row)
    value: Any = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return shown(value)


def shown(value: Any) -> str:
    """Return a value in one line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (dict, list)):
        return printable(json.dumps(value, ensure_ascii=False))
    return printable(str(value))
