"""The models of response bodies of the supervisor's calls."""

from typing import Literal

from shuttle.web.models import Count, Ok, ResponseBody


class Recorded(Ok):
    """Whether the report was new; one with a repeated `id` is not."""

    recorded: bool


class ArtifactStored(Ok):
    """Checksum and size of an artifact as received."""

    sha256: str
    bytes: Count


class LogRules(ResponseBody):
    """How the agent has to send the log."""

    pause_seconds: float
    max_bytes: int


class Claimed(ResponseBody):
    """The tokens of an attempt, and the settings of its supervisor."""

    setup_token: str
    run_token: str
    stop_grace_seconds: float
    console: Literal["full", "summary"]
    log_url: str
    log: LogRules
