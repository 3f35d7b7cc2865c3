"""Where logs go: a sink carries one build's log to one stranger, by its own offset, until it is told or gives up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from shuttle.logs import LogReader
from shuttle.outgoing.failover import Failover


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkTarget:
    """One recorded sink of one build; `url` still holds its userinfo, `headers` may hold secrets (not in repr).

    `kind` is http, kafka or failover; `member` the place of the failover's member that is in use, from 0. `build_json`
    is what messages call the build: its id, or the build number as the older API's client gave it.
    """

    sink_id: int
    kind: str = "http"
    build_uuid: str
    app_id: str
    build_id: str
    metadata_json: str
    build_json: str = ""
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    wire: str = "standard"
    acked_offset: int = 0
    member: int = 0


class SinkLedger(Protocol):
    """What is remembered of a sink, durably when a call returns, but for `acknowledged`. Raises StoreError."""

    async def acknowledged(self, sink_id: int, offset: int) -> None:
        """The receiver has every byte below `offset`: sending goes on from here after a crash.

        Called for every interim answer and every batch, so cheap: written within seconds, those of all sinks together,
        the newest of each. What was not written is sent again.
        """

    async def failing(self, sink_id: int, error: str) -> None:
        """An attempt failed; `error` is one sentence without secrets."""

    async def live(self, sink_id: int) -> None:
        """An attempt is under way and well."""

    async def went_over(self, sink_id: int, over: Failover) -> None:
        """A failover goes on with another member, also after a crash."""

    async def done(self, sink_id: int, offset: int) -> None:
        """The whole log, `offset` bytes, is acknowledged."""

    async def gave_up(self, sink_id: int, error: str) -> None:
        """No further attempts."""


class Sink(Protocol):
    """Carries logs to receivers of one kind. Safe for any number of tasks of one loop."""

    async def carry(self, target: SinkTarget, log: LogReader, ledger: SinkLedger, finished_at: "FinishedAt") -> None:
        """Send until done or given up (SHUTTLE_SINK_GIVE_UP_SECONDS after the end); never raises but CancelledError.

        Cancelled, it aborts what is open so that no receiver takes it for the log's end.
        """


class FinishedAt(Protocol):
    """Tells when the build ended."""

    def __call__(self) -> datetime | None:
        """When the build ended, on steady time; None = it has not ended."""
