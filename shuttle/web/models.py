"""The bodies of our answers, as models: handlers fill them in, and the OpenAPI document describes them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from shuttle.build import Api, Stage, State
from shuttle.request.legacy_shape import INVALID_UUID, MISSING_FIELDS

Instant = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Count = Annotated[int, Field(ge=0)]


class Answer(BaseModel):
    """Whole as it stands: no other fields, and every field is in the JSON, also one that is null."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Ok(Answer):
    """It is done, durably."""

    status: Literal["OK"] = "OK"


class LegacyOk(Answer):
    """The same in the older API."""

    status: Literal["ok"] = "ok"


class LegacyRefusal(Answer):
    """What the older API answers to a request that it cannot take."""

    status: Literal[MISSING_FIELDS, INVALID_UUID]  # type: ignore[valid-type] # constants, too


class NothingThere(Answer):
    """Neither a source nor an app."""

    status: Literal["Not Found"] = "Not Found"


class Checks(Answer):
    """Of each, `ok` or what is wrong."""

    database: str
    object_store: str
    jenkins: str


class Ready(Answer):
    """Whether what the service depends on can be reached."""

    status: Literal["OK", "not ready"]
    checks: Checks


class Timestamps(Answer):
    """When the build came how far."""

    accepted_at: Instant
    staged_at: Instant | None
    queued_at: Instant | None
    running_at: Instant | None
    finished_at: Instant | None


class ShortBuild(Answer):
    """A build in a list."""

    app_id: str
    build_id: str
    build_uuid: str
    api: Api
    pipeline: str
    state: State
    stage: Stage
    building: bool
    status: str
    reason: str | None
    message: str | None
    waiting_for: str | None
    human_readable_info: str | None
    labels: dict[str, str]
    timestamps: Timestamps


class BuildPage(Answer):
    """Builds, newest first; `next` is the `before` of the next page, null on the last."""

    builds: list[ShortBuild]
    next: str | None


class BuildSource(Answer):
    """Where the code came from, without credentials; sum and size once it is stored."""

    url: str | None
    sha256: str | None
    bytes: Count | None


class BuildInJenkins(Answer):
    """Where the build is in Jenkins, as far as it is known."""

    controller: str
    job: str
    queue_item: int | None
    build_number: int | None
    url: str | None


class BuildLogSize(Answer):
    """The log: its checksum once it is complete."""

    bytes: Count
    sha256: str | None
    complete: bool


class StageTimes(Answer):
    """A stage that the agent reported; `branch` is null for the main step."""

    stage: str
    branch: str | None
    began_at: Instant | None
    ended_at: Instant | None = None
    code: int | None = None
    status: str | None = None


class ArtifactEntry(Answer):
    """A file that the build left."""

    name: str
    bytes: Count
    sha256: str
    content_type: str


class Artifacts(Answer):
    """All files that the build left."""

    artifacts: list[ArtifactEntry]


class PartyEntry(Answer):
    """A receiver of statuses or of the log: how far it is."""

    kind: str
    host: str
    state: str
    acked_offset: Count | None
    lag_bytes: Count | None
    attempts: Count
    last_error: str | None
    failing_since: Instant | None
    failovers: list[dict[str, str]]


class LongBuild(ShortBuild):
    """Everything about a build but its metadata; secret arguments are null, and all without the key of that time."""

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
    receivers: list[PartyEntry]
    sinks: list[PartyEntry]


class WholeBuild(LongBuild):
    """Everything about a build; the metadata is handed back as the JSON text that was recorded."""

    metadata: Any


class StatusEvent(BaseModel):
    """The newest status as it is sent to receivers, with `id` = the metadata; see `shuttle.events.status_body`."""

    id: Any
    type: Literal["build system"]
    building: bool
    status: Literal["queued", "pending", "succeeded", "failed", "timedout"]
    app_id: str
    build_id: str
    stage: Stage
    reason: str | None
    message: str | None
    at: Instant
    sequence: Count
    system: Literal["jenkins"]


class LegacyStatus(Answer):
    """The status of a build of the older API."""

    id: int
    building: bool
    status: Literal["pending", "failed", "stopped", "succeeded"]
    type: Literal["jenkins"] = "jenkins"


class LegacyLog(Answer):
    """The log as the older API's clients read it."""

    output: str


class DeliveryEntry(Answer):
    """A status on its way to a receiver."""

    delivery_id: int
    app_id: str
    build_id: str
    build_uuid: str
    sequence: int
    status: str
    receiver: str
    state: Literal["pending", "delivered", "gave_up"]
    tries: Count
    next_attempt_at: Instant | None
    last_error: str | None


class Deliveries(Answer):
    """Statuses on their way, newest first."""

    deliveries: list[DeliveryEntry]


class Replayed(Ok):
    """How many deliveries are tried again."""

    replayed: Count


class Recorded(Ok):
    """Whether it was new; a repeated `id` is not."""

    recorded: bool


class ArtifactStored(Ok):
    """What was received of an artifact."""

    sha256: str
    bytes: Count


class LogRules(Answer):
    """How the agent sends the log."""

    pause_seconds: float
    max_bytes: int


class Claimed(Answer):
    """The tokens of an attempt, and what its supervisor needs to know."""

    setup_token: str
    run_token: str
    stop_grace_seconds: float
    console: str
    log_url: str
    log: LogRules
