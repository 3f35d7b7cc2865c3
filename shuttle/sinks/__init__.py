"""Log sinks: each forwards one build's log to one receiver, with an offset of its own, until done or given up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from shuttle.logs import LogReader
from shuttle.outgoing.endpoints import EndpointKind
from shuttle.outgoing.failover import Failover


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkTarget:
    """One recorded sink of one build; `url` still holds its userinfo, `headers` may hold secrets (not in repr).

    `member` is the index of the failover's member in use, from 0. `build_json` is the value of `build` in Kafka
    messages: the build's id, or the build number as the older API's client gave it.
    """

    sink_id: int
    kind: EndpointKind = EndpointKind.HTTP
    build_uuid: str
    app_id: str
    build_id: str
    metadata_json: str
    build_json: str = ""
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    acked_offset: int = 0
    member: int = 0


class SinkLedger(Protocol):
    """The recorded state of sinks: durable when a call returns, except for `acknowledged`.

    Raises StoreError, and NotOwnerError: another replica has taken the app.
    """

    async def acknowledged(self, sink_id: int, offset: int) -> None:
        """The receiver has every byte below `offset`; after a crash sending resumes there.

        Called for every interim answer and every batch, so it is cheap: the newest offset of each sink is written
        within seconds, all sinks together. Bytes whose offset was not written are sent again.
        """

    async def failing(self, sink_id: int, error: str) -> None:
        """An attempt failed; `error` is one sentence without secrets."""

    async def live(self, sink_id: int) -> None:
        """An attempt is in progress and the receiver takes data."""

    async def failed_over(self, sink_id: int, failover: Failover) -> None:
        """The sink continues with another member of its failover, also after a crash."""

    async def done(self, sink_id: int, offset: int) -> None:
        """The whole log, `offset` bytes, is acknowledged."""

    async def gave_up(self, sink_id: int, error: str) -> None:
        """No further attempts."""


class Sink(Protocol):
    """Forwards logs to receivers of one kind. Safe for any number of tasks of one loop."""

    async def forward(self, target: SinkTarget, log: LogReader, ledger: SinkLedger, finished_at: "FinishedAt") -> None:
        """Send until done or given up (SHUTTLE_SINK_GIVE_UP_SECONDS after the end).

        When cancelled, it aborts an open request, so that no receiver mistakes it for the log's end. Raises
        NotOwnerError: another replica has taken the app, and sends the log.
        """


class FinishedAt(Protocol):
    """Returns when the build ended."""

    def __call__(self) -> datetime | None:
        """The end of the build on steady time; None = it has not ended."""
