"""The models of response bodies and statuses of the older API."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from shuttle.build import Status
from shuttle.request.legacy_shape import INVALID_UUID, MISSING_FIELDS
from shuttle.web.models import ResponseBody


class LegacyOk(ResponseBody):
    """Success in the older API."""

    status: Literal["ok"] = "ok"


class LegacyRefusal(ResponseBody):
    """A refusal in the older API."""

    status: Literal[MISSING_FIELDS, INVALID_UUID]  # type: ignore[valid-type] # constants, too


class LegacyStatusEvent(BaseModel):
    """A status of a build of the older API; `id` is its number, and `reason` is there only if it failed."""

    model_config = ConfigDict(extra="forbid")

    id: Any
    type: Literal["jenkins"]
    building: bool
    status: Literal[Status.PENDING, Status.SUCCEEDED, Status.FAILED]
    reason: str = ""


class LegacyStatus(ResponseBody):
    """The status of a build of the older API."""

    id: int
    building: bool
    status: Literal["pending", "failed", "stopped", "succeeded"]
    type: Literal["jenkins"] = "jenkins"


class LegacyLog(ResponseBody):
    """The log in the form of the older API."""

    output: str
