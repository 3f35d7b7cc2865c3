"""Bodies and answers about resuming builds."""

from typing import Any, Literal

from pydantic import AliasChoices, Field, RootModel

from shuttle.web.models import Instant, ResponseBody
from shuttle.web.state.artifact_models import ArtifactForBldst
from shuttle.web.state.bodies import StateBody
from shuttle.web.state.fields import Code, Message, Metadata, Name, NumberOrName

Progress = Literal["pending", "triggered", "running", "completed", "failed"]


class NewResumeBody(StateBody):
    """A request to resume a build. The new build begins at `resume_from_state`; its default is the state that failed.

    `latest`: the new build gets the newest commit of the branch; only for a build that the shuttle runs.
    """

    resume_from_state: Code | None = Field(None, validation_alias=AliasChoices("resume_from_state", "from_state"))
    resume_to_state: Code | None = None
    resume_reason: Message | None = Field(None, validation_alias=AliasChoices("resume_reason", "reason"))
    requested_by: Name | None = None
    request_source: Name | None = None
    metadata: Metadata | None = None
    orchestration_config: Metadata | None = None
    build_number: NumberOrName | None = None
    latest: bool | None = None


class ResumeChange(StateBody):
    """The progress of a request in the CI system; null and absent fields stay."""

    orchestration_status: Progress | None = None
    orchestration_job_id: NumberOrName | None = None
    orchestration_job_url: Message | None = None
    error_message: Message | None = None


class ResumeEntry(ResponseBody):
    """A request to resume the build `build_id`; `id` is the uuid of the build that resumes it."""

    id: str
    resume_request_id: str
    build_id: str
    resumed_build_id: str
    build_number: str
    resume_from_state: int
    resume_to_state: int | None
    resume_reason: str | None
    requested_by: str | None
    request_source: str | None
    metadata: dict[str, Any] | None
    orchestration_config: dict[str, Any] | None
    orchestration_job_id: str | None
    orchestration_job_url: str | None
    orchestration_status: Progress
    triggered_at: Instant | None
    completed_at: Instant | None
    error_message: str | None
    created_at: Instant
    updated_at: Instant


class ResumeEntries(RootModel[list[ResumeEntry]]):
    """Requests, the oldest first."""


class Context(ResponseBody):
    """The state, the artifacts and the variables from which a build that resumes this one starts."""

    build_id: str
    current_state: int
    last_successful_state: int
    failed_state: int | None
    resume_from_state: int
    artifacts: list[ArtifactForBldst]
    variables: dict[str, str]
    resumable_state_config: dict[str, Any] | None
