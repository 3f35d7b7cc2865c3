"""The query of a list below `/-/state`: `skip`, `limit`, and flags."""

import re
from typing import NamedTuple

from aiohttp import web

from shuttle.web.description import Parameter
from shuttle.web.state.details import invalid

_LIMIT = 100
# A larger limit is reduced to this one: existing clients ask for any number.
_MAX_LIMIT = 1000
# Databases count in 64 bits.
_NUMBER = re.compile(r"[0-9]{1,18}")
_FLAGS = {"true": True, "1": True, "false": False, "0": False}

PAGE_QUERY = (
    Parameter("skip", {"type": "integer", "minimum": 0, "default": 0}, "How many to leave out."),
    Parameter(
        "limit",
        {"type": "integer", "minimum": 0, "default": _LIMIT},
        f"How many at most; more than {_MAX_LIMIT} counts as {_MAX_LIMIT}.",
    ),
)
WITH_DEACTIVATED = Parameter("include_deactivated", {"type": "boolean", "default": False}, "Deleted ones, too.")


class Page(NamedTuple):
    """A part of a list: `limit` entries after the first `skip`."""

    skip: int
    limit: int


def page_of(request: web.Request) -> Page:
    """The part of the list that the query names. Raises InvalidShapeError."""
    return Page(_number(request, "skip", 0), min(_number(request, "limit", _LIMIT), _MAX_LIMIT))


def flag_of(request: web.Request, name: str) -> bool | None:
    """The flag in the query; None if it is absent. Raises InvalidShapeError."""
    text = request.query.get(name)
    if text is None:
        return None
    if text.lower() not in _FLAGS:
        raise invalid("query", name, "Write true or false.", kind="bool_parsing")
    return _FLAGS[text.lower()]


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text):
        raise invalid("query", name, "Write a whole number of at most 18 digits, not below 0.", kind="int_parsing")
    return int(text)
