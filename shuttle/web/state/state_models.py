"""Bodies and answers about the states of a build."""

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, RootModel, ValidationError, WrapValidator

from shuttle.web.models import Instant, ResponseBody
from shuttle.web.state.bodies import StateBody
from shuttle.web.state.fields import Code, Message, Metadata, Name, RetryCount, Size

# The fields of a report that are recorded together.
STATE_DETAILS = (
    "error_message",
    "retry_count",
    "artifact_storage_type",
    "artifact_storage_path",
    "artifact_size_bytes",
    "artifact_checksum",
    "artifact_metadata",
    "metadata",
)


_DIGITS = re.compile(r"\s*-?\d{1,9}\s*")


def _code_of_digits(value: Any) -> Any:
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value


def _as_one_problem(value: Any, check: Callable[[Any], Any]) -> Any:
    """Raise one error: pydantic raises one for each type, and names the types in Python's words."""
    try:
        return check(value)
    except ValidationError:
        raise ValueError("write a number from -1 to 999, or a name of 1 to 128 characters without NUL") from None


CodeOrName = Annotated[Code | Name, BeforeValidator(_code_of_digits), WrapValidator(_as_one_problem)]


class ArtifactOfState(StateBody):
    """A file that the build stored elsewhere during this state; it is recorded as the artifact `state-<code>`."""

    artifact_storage_type: Name | None = None
    artifact_storage_path: Message | None = None
    artifact_size_bytes: Size | None = None
    artifact_checksum: Name | None = None
    artifact_metadata: Metadata | None = None


class NewState(ArtifactOfState):
    """A state as `bldst` reports it: `POST …/states`."""

    without_effect = ("start_time",)

    state: Code
    status: Message | None = None
    start_time: Message | None = None
    error_message: Message | None = None
    retry_count: RetryCount | None = None
    build_id: Name | None = None
    message: Message | None = None
    metadata: Metadata | None = None
    final: bool = True


class StateUpdate(ArtifactOfState):
    """A state as scripts with curl and the Jenkins library report it: `POST …/state`."""

    state_code: CodeOrName | None = None
    state_name: Name | None = None
    state: CodeOrName | None = None
    status: Message | None = None
    message: Message | None = None
    metadata: Metadata | None = None
    final: bool = True


class BuildState(ResponseBody):
    """A state of a build, or a stage of its pipeline."""

    id: str
    build_id: str
    state: int
    status: str
    stage: str | None
    branch: str | None
    message: str | None
    start_time: Instant
    end_time: Instant | None
    duration_seconds: int | None
    error_message: str | None
    retry_count: int
    artifact_storage_type: str | None
    artifact_storage_path: str | None
    artifact_size_bytes: int | None
    artifact_checksum: str | None
    artifact_metadata: dict[str, Any] | None
    metadata: dict[str, Any] | None
    created_at: Instant


class BuildStates(RootModel[list[BuildState]]):
    """States in the order in which they began."""


class CurrentState(ResponseBody):
    """The state that is current, and those before it. `history` and `state_history` are the same list."""

    build_id: str
    current_state: int
    status: str
    last_transition: Instant
    last_updated: Instant
    state_history: list[BuildState]
    history: list[BuildState]
