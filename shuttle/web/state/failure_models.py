"""Bodies and answers about the failures of a build."""

from typing import Any

from pydantic import AliasChoices, Field, RootModel

from shuttle.web.models import Instant, ResponseBody
from shuttle.web.state.bodies import StateBody
from shuttle.web.state.fields import Code, Message, Metadata, Name, RetryCount


class NewFailure(StateBody):
    """A failure; the state -1 stands for the current state."""

    state: Code | None = Field(None, validation_alias=AliasChoices("state", "state_code"))
    failure_type: Name | None = None
    error_message: Message | None = None
    message: Message | None = None
    error_code: Name | None = None
    error_details: Metadata | None = None
    component: Name | None = None
    retry_attempt: RetryCount | None = None
    retryable: bool | None = None
    build_id: Name | None = None


class Failure(ResponseBody):
    """A failure of a build."""

    id: str
    build_id: str
    state: int
    failure_type: str
    error_message: str
    error_details: dict[str, Any] | None
    component: str | None
    retryable: bool
    retry_attempt: int
    resolved: bool
    resolution_notes: str | None
    resolved_at: Instant | None
    created_at: Instant


class Failures(RootModel[list[Failure]]):
    """Failures in the order in which they were reported."""
