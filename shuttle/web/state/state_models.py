"""Bodies and answers about the states of a build."""

from typing import Any

from pydantic import RootModel, field_validator

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

    state_code: Code | Name | None = None
    state_name: Name | None = None
    state: Code | Name | None = None
    status: Message | None = None
    message: Message | None = None
    metadata: Metadata | None = None
    final: bool = True

    @field_validator("state_code", "state", mode="before")
    @classmethod
    def _digits_are_a_code(cls, value: Any) -> Any:
        if isinstance(value, str) and value.strip().lstrip("-").isdecimal() and len(value) < 10:
            return int(value)
        return value


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
