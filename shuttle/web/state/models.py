"""The models of answers below `/-/state`. Existing clients validate them strictly: see tests/contract/state."""

from typing import Literal

from shuttle.web.models import Instant, ResponseBody


class AccessToken(ResponseBody):
    """A token to send with each request."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the kind of the token
    expires_in: int


class User(ResponseBody):
    """The role of a token in the form of a user."""

    id: int
    username: str
    email: str
    full_name: str | None
    is_active: bool
    created_at: Instant
    updated_at: Instant


class Alive(ResponseBody):
    """The process answers requests."""

    status: Literal["healthy"] = "healthy"
    timestamp: Instant


class ReadyForState(ResponseBody):
    """Whether this replica can answer requests.

    There is no cache; the first `bldst` prints "ready" only if both are `ok`.
    """

    status: Literal["ready", "unready"]
    database: Literal["ok", "error"]
    cache: Literal["ok"] = "ok"
    timestamp: Instant


class DatabaseStatus(ResponseBody):
    """The database; `builds_count` is null while it does not answer."""

    type: Literal["sqlite", "postgresql"]
    status: Literal["connected", "error"]
    builds_count: int | None


class CacheStatus(ResponseBody):
    """There is no cache."""

    status: Literal["disabled"] = "disabled"


class ServiceStatus(ResponseBody):
    """The parts of the service; `uptime` is that of the replica that answers."""

    status: Literal["operational"] = "operational"
    uptime: str
    version: str
    database: DatabaseStatus
    cache: CacheStatus
    timestamp: Instant
