"""The models of status webhooks, and of the lists of their deliveries."""

from typing import Annotated, Any, Literal

from pydantic import Field

from shuttle.build import Stage, Status
from shuttle.delivery import DeliveryState
from shuttle.web.models import Count, Instant, Ok, ResponseBody


class _StatusEvent(ResponseBody):
    """What each status has; `id` is the metadata. `shuttle.events` writes the JSON."""

    id: Any
    type: Literal["build system"]
    building: bool
    app_id: str
    build_id: str
    stage: Stage
    reason: str | None
    message: str | None
    at: Instant
    sequence: Annotated[int, Field(ge=1)]
    system: Literal["jenkins"]


class StatusEvent(_StatusEvent):
    """A status of a build that has not ended; `id` is the metadata."""

    status: Literal[Status.QUEUED, Status.PENDING]


class ReportedArtifact(ResponseBody):
    """A file that the build uploaded, in its final status."""

    name: str
    bytes: Count
    sha256: str


class FinalStatusEvent(_StatusEvent):
    """The last status of a build, with its results; `id` is the metadata."""

    status: Literal[Status.SUCCEEDED, Status.FAILED, Status.TIMEDOUT]
    log_sha256: str
    log_bytes: Count
    image: str | None
    digest: str | None
    artifacts: list[ReportedArtifact]


class DeliveryEntry(ResponseBody):
    """The delivery of one status to one receiver; `resume` with the sequence 0 is the call to resume a record."""

    delivery_id: int
    app_id: str
    build_id: str
    build_uuid: str
    sequence: int
    status: Status | Literal["resume"]
    receiver: str
    state: DeliveryState
    tries: Count
    next_attempt_at: Instant | None
    last_error: str | None


class Deliveries(ResponseBody):
    """Status deliveries, newest first."""

    deliveries: list[DeliveryEntry]


class Replayed(Ok):
    """How many deliveries are sent again."""

    replayed: Count
