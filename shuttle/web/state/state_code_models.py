"""Bodies and answers about state codes. Existing clients use two shapes: with flags, or with code and order."""

from typing import Annotated, Any

from pydantic import Field, RootModel

from shuttle.store.references import Reference
from shuttle.web.state.bodies import StateBody
from shuttle.web.state.fields import Code, Color, Description, DisplayName, Name
from shuttle.web.state.reference_models import DatedEntry, common_fields, dates
from shuttle.web.storable import Text

_Order = Annotated[int, Field(ge=-(2**31), lt=2**31)]
_FLAGS = ("is_initial", "is_final", "is_error", "is_terminal")


class StateCodeChange(StateBody):
    """Fields to change; null and absent ones stay."""

    code: Code | None = None
    name: Name | None = None
    display_name: DisplayName | None = None
    description: Description | None = None
    color: Color | None = None
    is_initial: bool | None = None
    is_final: bool | None = None
    is_error: bool | None = None
    is_terminal: bool | None = None
    sort_order: _Order | None = None


class NewStateCode(StateCodeChange):
    """A new state code of the project in the path. Without `code` the service chooses one."""

    name: Name


class NewStateCodeOfProject(NewStateCode):
    """A new state code; `project_id` is the uuid or the name of its project."""

    project_id: Text


class StateCodeEntry(DatedEntry):
    """A state code in both shapes. `is_terminal` = a record in this state has ended."""

    project_id: str
    code: int
    color: str | None
    is_initial: bool
    is_final: bool
    is_error: bool
    is_terminal: bool
    sort_order: int


class StateCodes(RootModel[list[StateCodeEntry]]):
    """State codes, sorted by project and code."""


def new_values(body: NewStateCode) -> dict[str, Any]:
    """The fields of a new state code except its name; `code` only if the caller chose it."""
    given = _given(body)
    blank = {"display_name": None, "description": None, "color": None, "sort_order": 0}
    return blank | dict.fromkeys(_FLAGS, False) | given | _flags(dict.fromkeys(_FLAGS, False) | given)


def changed_values(body: StateCodeChange, known: Reference) -> dict[str, Any]:
    """The fields to change. A caller sets the meaning by `is_error` and either `is_final` or `is_terminal`."""
    given = _given(body)
    ends = {"is_final", "is_error"} & given.keys() and "is_terminal" not in given
    flags = {name: known.fields[name] for name in _FLAGS} | given
    if ends:
        flags["is_terminal"] = False
    elif given.get("is_terminal") is False:
        flags["is_final"] = given.get("is_final", False)
    return given | _flags(flags)


def _given(body: StateCodeChange) -> dict[str, Any]:
    return {name: value for name, value in body.given().items() if name not in {"name", "project_id"}}


def _flags(flags: dict[str, Any]) -> dict[str, bool]:
    """Final or error means terminal, and terminal without error means final."""
    is_final = flags["is_final"] or (flags["is_terminal"] and not flags["is_error"])
    is_terminal = flags["is_final"] or flags["is_error"] or flags["is_terminal"]
    return {"is_final": is_final, "is_terminal": is_terminal}


def state_code_entry(found: Reference) -> StateCodeEntry:
    """The state code for display."""
    own = {name: found.fields[name] for name in ("code", "color", "sort_order", *_FLAGS)}
    return StateCodeEntry(**common_fields(found), **dates(found), **own, project_id=found.scope)
