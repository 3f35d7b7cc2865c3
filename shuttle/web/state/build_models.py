"""Bodies and answers about builds below `/-/state`. Requests for a new record have several forms, answers only one."""

from typing import Any

from pydantic import Field, RootModel

from shuttle.web.models import AutoResumeEntry, Instant, ResponseBody
from shuttle.web.state.bodies import StateBody
from shuttle.web.state.failure_models import Failure
from shuttle.web.state.fields import Code, Description, Message, Metadata, Name, NumberOrMessage, NumberOrName
from shuttle.web.state.reference_models import ImageType, OsVersion, Platform
from shuttle.web.state.state_models import BuildState


class NewBuildBody(StateBody):
    """A new record. `bldst`, the Jenkins library and scripts with curl each use some of the fields."""

    build_number: NumberOrName | None = None
    build_id: NumberOrName | None = None
    name: NumberOrName | None = None
    project_id: Name | None = None
    platform_id: Name | None = None
    os_version_id: Name | None = None
    image_type_id: Name | None = None
    os_distribution_id: Name | None = None
    cloud_provider_id: Name | None = None
    image_variant_id: Name | None = None
    platform: Name | None = None
    os_version: Name | None = None
    image_type: Name | None = None
    os_distribution: Name | None = None
    cloud_provider: Name | None = None
    image_variant: Name | None = None
    created_by: NumberOrName | None = None
    concourse_pipeline_url: Message | None = None
    concourse_job_name: NumberOrMessage | None = None
    pipeline_url: Message | None = None
    commit_hash: Message | None = None
    description: Description | None = None
    start_state: Code | None = None
    metadata: Metadata | None = None


class BuildChange(StateBody):
    """The fields to change; null and absent ones stay."""

    without_effect = ("end_time", "metadata")

    current_state: Code | None = None
    status: Message | None = None
    message: Message | None = None
    error_message: Message | None = None
    end_time: Message | None = None
    ami_id: Message | None = None
    image_id: Message | None = None
    packer_manifest: Metadata | None = None
    metadata: Metadata | None = None


class ProjectOfBuild(ResponseBody):
    """The project of a build."""

    id: str
    name: str
    description: str | None
    parent_project_id: str | None
    is_active: bool
    created_at: Instant
    updated_at: Instant
    child_projects: list[Any] = Field(default_factory=list)


class ChildBuild(ResponseBody):
    """A part of a build, for example that of one platform."""

    id: str
    build_number: str
    name: str
    status: str
    reason: str | None
    current_state: int
    start_time: Instant
    end_time: Instant | None
    image_id: str | None


class BuildEntry(ResponseBody):
    """A build and its record. `id` and `build_id` are its uuid.

    `auto_resume` is null if no automatic resume is planned.
    """

    id: str
    build_id: str
    build_number: str
    name: str
    app_id: str
    url: str
    project_id: str
    platform_id: str
    os_version_id: str
    image_type_id: str
    created_by: str
    concourse_pipeline_url: str | None
    concourse_job_name: str | None
    current_state: int
    status: str
    reason: str | None
    message: str | None
    start_time: Instant
    end_time: Instant | None
    duration_seconds: int | None
    ami_id: str | None
    image_id: str | None
    packer_manifest: dict[str, Any] | None
    created_at: Instant
    updated_at: Instant
    description: str | None
    commit_hash: str | None
    metadata: Any
    labels: dict[str, str]
    parent_id: str | None
    resume_from: str | None
    platform: Platform
    os_version: OsVersion
    image_type: ImageType
    project: ProjectOfBuild
    states: list[BuildState]
    failures: list[Failure]
    children: list[ChildBuild]
    auto_resume: AutoResumeEntry | None


class BuildEntries(RootModel[list[BuildEntry]]):
    """Builds, the newest first. States, failures, children and planned resumes are only in the answer for one build."""
