"""Errors below `/-/state`: `{"detail": sentence}`, or `{"detail": [{"type", "loc", "msg"}]}` for a wrong shape."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from shuttle.errors import InvalidRequestError, ShuttleError, shortened

# A step of a path: the index of an entry, or a name.
_STEP = re.compile(r"\[([0-9]+)\]|([^.\[\]]+)")
# An array of many wrong items would make an error as large as the request.
_MAX_PROBLEMS = 20


class Problem(NamedTuple):
    """One field at fault: `loc` begins with `body`, `query` or `path`."""

    type: str
    loc: tuple[str | int, ...]
    msg: str


class InvalidShapeError(ShuttleError):
    """A field is missing, has another type or is out of range; `problems` names each."""

    status = 422
    code = "invalid_shape"

    def __init__(self, *problems: Problem) -> None:
        super().__init__(problems[0].msg)
        self.problems = problems


def invalid(place: str, field: str, message: str, *, kind: str = "value_error") -> InvalidShapeError:
    """The error for one field; `place` is `body`, `query` or `path`, `kind` is pydantic's type of the error."""
    return InvalidShapeError(Problem(kind, (place, field), message))


def invalid_id(field: str, error: InvalidRequestError) -> InvalidShapeError:
    """The error for a field of the body that is no valid id (docs/contract.md, "Ids"), with the same sentence."""
    return invalid("body", field, error.message)


def invalid_field(error: InvalidRequestError) -> InvalidShapeError:
    """The error for the field of the body that `error` names by a path like `metadata.webhooks.status[0].url`."""
    steps = _STEP.findall(error.field or "")
    loc = ("body", *(int(index) if index else _step(name) for index, name in steps))
    return InvalidShapeError(Problem("value_error", loc, error.message))


def problems_of(error: ValidationError, place: str) -> Sequence[Problem]:
    """Pydantic's errors, without the values that a caller sent."""
    found = error.errors(include_url=False, include_input=False, include_context=False)[:_MAX_PROBLEMS]
    return [Problem(each["type"], (place, *map(_step, each["loc"])), each["msg"]) for each in found]


def _step(step: str | int) -> str | int:
    return shortened(step) if isinstance(step, str) else step


def detail_of(error: ShuttleError) -> Any:
    """The value of `detail`."""
    if isinstance(error, InvalidShapeError):
        return [problem._asdict() for problem in error.problems]
    return error.message
