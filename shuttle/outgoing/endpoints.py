"""What is recorded about an endpoint, a receiver of statuses or of a log: its kind, its state, the format it gets."""

from enum import StrEnum


class EndpointKind(StrEnum):
    """The kind of an endpoint, known by its URL."""

    HTTP = "http"
    KAFKA = "kafka"
    FAILOVER = "failover"


class EndpointState(StrEnum):
    """How far the endpoint is. `behind`: a receiver has pending statuses, or a sink lacks the end of a complete log."""

    LIVE = "live"
    FAILING = "failing"
    BEHIND = "behind"
    DONE = "done"
    GAVE_UP = "gave_up"


class PayloadFormat(StrEnum):
    """The format of the statuses or the log that it is sent; LEGACY is that of the older API.

    RESUME: it is sent no statuses, but one request to resume a record.
    """

    STANDARD = "standard"
    LEGACY = "legacy"
    RESUME = "resume"
