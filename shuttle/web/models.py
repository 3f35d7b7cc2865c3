"""The models of response bodies: handlers fill them in, and the OpenAPI document describes them.

`legacy_models` and `agent_models` have those of the older API and of the supervisor's calls.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from shuttle.build import Api, Stage, State, Status
from shuttle.outgoing.endpoints import EndpointKind, EndpointState

Instant = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Count = Annotated[int, Field(ge=0)]


class ResponseBody(BaseModel):
    """A complete body: it has no further fields, and its JSON has every field, even one that is null."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_serialization_defaults_required=True)


class Ok(ResponseBody):
    """The request was carried out durably."""

    status: Literal["OK"] = "OK"


class NewBuildIds(ResponseBody):
    """The ids of the build that was recorded durably."""

    status: Literal["OK"] = "OK"
    build_id: str
    build_uuid: str


class IdleAppEntry(ResponseBody):
    """An app whose Jenkins job can be deleted, and when its newest build ended."""

    app_id: str
    ended_at: Instant


class IdleApps(ResponseBody):
    """Idle apps in the order of their ids; `next` is the value of `after` for those that follow."""

    apps: list[IdleAppEntry]
    next: str | None


class StartedByHook(ResponseBody):
    """The builds that a git webhook has started, each as `<app_id>/<build_id>`."""

    started: list[str]


class NotFoundStatus(ResponseBody):
    """There is neither a source nor an app of that name."""

    status: Literal["Not Found"] = "Not Found"


class Checks(ResponseBody):
    """The state of this replica and of each dependency: `ok`, or what is wrong."""

    replica: str
    database: str
    object_store: str
    clock: str
    jenkins: str


class Ready(ResponseBody):
    """Whether this replica can answer requests; it is `degraded` if another check fails.

    `controllers` has the state of each controller of JENKINS_URL, by name.
    """

    status: Literal["OK", "degraded", "not ready"]
    checks: Checks
    controllers: dict[str, str]


class Timestamps(ResponseBody):
    """When the build reached each state."""

    accepted_at: Instant
    staged_at: Instant | None
    queued_at: Instant | None
    running_at: Instant | None
    finished_at: Instant | None


class ShortBuild(ResponseBody):
    """A build in a list."""

    app_id: str
    build_id: str
    build_uuid: str
    api: Api
    pipeline: str
    state: State
    stage: Stage
    building: bool
    status: Status
    reason: str | None
    message: str | None
    waiting_for: str | None
    human_readable_info: str | None
    labels: dict[str, str]
    timestamps: Timestamps


class BuildPage(ResponseBody):
    """Builds, newest first; `next` is the `before` of the next page, null on the last."""

    builds: list[ShortBuild]
    next: str | None


class ReplicaEntry(ResponseBody):
    """One replica: since when it runs, when it last raised its counter, and what it owns."""

    name: str
    instance: str
    version: str
    url: str
    started_at: Instant
    counter_age_seconds: Annotated[float, Field(ge=0)]
    apps: Count
    builds: Count


class ReplicaList(ResponseBody):
    """The replicas that are considered alive; the one that answers is first."""

    replicas: list[ReplicaEntry]


class BuildSource(ResponseBody):
    """Where the source came from, without credentials; checksum and size once it is stored.

    `commit` and `branch` are those of a git source.
    """

    url: str | None
    sha256: str | None
    bytes: Count | None
    commit: str | None
    branch: str | None


class BuildInJenkins(ResponseBody):
    """Where the build is in Jenkins, as far as it is known. `controller` is its name in JENKINS_URL."""

    controller: str | None
    job: str
    queue_item: int | None
    build_number: int | None
    url: str | None


class BuildLogSize(ResponseBody):
    """The log's size, and its checksum once it is complete."""

    bytes: Count
    sha256: str | None
    complete: bool


class StageTimes(ResponseBody):
    """A stage; `branch` is null for the main step. `state` is the code of the build's state, `code` the exit status."""

    stage: str
    branch: str | None
    state: int | None
    began_at: Instant | None
    ended_at: Instant | None = None
    code: int | None = None
    status: str | None = None


class StageLog(ResponseBody):
    """The part of the log that belongs to a stage: the offsets of its first byte and after its last byte.

    `start` is null as long as the stage's stream has printed nothing, `stop` as long as the part may grow.
    """

    start: Count | None
    stop: Count | None


class StageEntry(StageTimes):
    """A stage with its part of the log; `log` is null if its agent has not reported where that part is."""

    log: StageLog | None


class Stages(ResponseBody):
    """All stages of a build, in the order in which they began."""

    stages: list[StageEntry]


class ArtifactEntry(ResponseBody):
    """A file that the build uploaded."""

    name: str
    bytes: Count
    sha256: str
    content_type: str


class Artifacts(ResponseBody):
    """All files that the build uploaded."""

    artifacts: list[ArtifactEntry]


class FailoverEntry(ResponseBody):
    """When and why a failover continued with another member."""

    at: Instant
    to: str
    why: str


class EndpointEntry(ResponseBody):
    """A receiver of statuses or of the log, and its progress."""

    kind: EndpointKind
    host: str
    state: EndpointState
    acked_offset: Count | None
    lag_bytes: Count | None
    attempts: Count
    last_error: str | None
    failing_since: Instant | None
    failovers: list[FailoverEntry]


class ChildEntry(ResponseBody):
    """A part of the build: the record of one of its platforms, or one that its process has created."""

    build_id: str
    build_uuid: str
    platform: str | None
    state: State
    reason: str | None
    message: str | None


class AutoResumeEntry(ResponseBody):
    """When the failed build will be resumed by itself; `attempts_left` counts that resume."""

    resume_at: Instant
    attempts_left: Annotated[int, Field(ge=1)]


class LongBuild(ShortBuild):
    """Everything about a build except its metadata.

    Secret arguments are null. `arguments` is null if the key that decrypts them is missing, and for a build that
    another CI system runs. `auto_resume` is null if no automatic resume is planned.
    """

    source: BuildSource
    destinations: list[str]
    arguments: dict[str, str | None] | None
    timeout_seconds: float
    jenkins: BuildInJenkins
    log: BuildLogSize
    stages: list[StageTimes]
    artifacts: list[ArtifactEntry]
    image: str | None
    digest: str | None
    receivers: list[EndpointEntry]
    sinks: list[EndpointEntry]
    children: list[ChildEntry]
    auto_resume: AutoResumeEntry | None


class WholeBuild(LongBuild):
    """Everything about a build; the metadata is the JSON text as it was recorded."""

    metadata: Any
