"""The environment of a log sink: a growing log, a ledger that records calls, a build that ends."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import aiohttp
import pytest

from shuttle.clock import Clock
from shuttle.kafka.clusters import KafkaClusters
from shuttle.logs.spool import Spool
from shuttle.outgoing.connector import AddressPolicy
from shuttle.outgoing.failover import Failover
from shuttle.settings import load_settings
from shuttle.sinks import SinkTarget
from shuttle.sinks.forward import LogForwarder, RetryPolicy, UploadFactory
from shuttle.sinks.host_recovery import HostRecovery
from shuttle.sinks.http import HttpUploadFactory
from tests.support.receivers import Receiver

QUICK = RetryPolicy(give_up_seconds=60, first_delay_seconds=0.01, longest_delay_seconds=0.02, timeout_seconds=30)


def offsets(receiver: Receiver) -> list[int]:
    """The offset at which each request started."""
    return [int(exchange.headers["Shuttle-Log-Offset"]) for exchange in receiver.exchanges]


@dataclass
class Ledger:
    """A SinkLedger that records its calls, in order."""

    calls: list[tuple[str, object]] = field(default_factory=list)
    _called: asyncio.Event = field(default_factory=asyncio.Event)

    def _record(self, what: str, detail: object) -> None:
        self.calls.append((what, detail))
        self._called.set()
        self._called = asyncio.Event()

    async def acknowledged(self, sink_id: int, offset: int) -> None:
        self._record("acknowledged", offset)

    async def failing(self, sink_id: int, error: str) -> None:
        self._record("failing", error)

    async def live(self, sink_id: int) -> None:
        self._record("live", None)

    async def failed_over(self, sink_id: int, failover: Failover) -> None:
        self._record("failed_over", failover)

    async def done(self, sink_id: int, offset: int) -> None:
        self._record("done", offset)

    async def gave_up(self, sink_id: int, error: str) -> None:
        self._record("gave_up", error)

    def details(self, what: str) -> list[object]:
        return [detail for called, detail in self.calls if called == what]

    async def until(self, what: str, times: int = 1) -> None:
        """Return once `what` has been called this many times."""
        while len(self.details(what)) < times:
            await self._called.wait()


@dataclass
class Build:
    """A build whose log is forwarded, with all that the lifecycle and the worker hold for it."""

    log: Spool
    session: aiohttp.ClientSession
    ledger: Ledger = field(default_factory=Ledger)
    host_recovery: HostRecovery = field(default_factory=HostRecovery)
    finished_at: datetime | None = None
    clock: Clock = field(default_factory=Clock)

    def end(self) -> None:
        """End the build: nothing is added to its log any more."""
        self.finished_at = self.clock.steady()
        self.log.end()

    def forward(self, url: str, retry_policy: RetryPolicy = QUICK, **fields: object) -> "asyncio.Task[None]":
        """Start forwarding the log to this http URL; `fields` are those of the target, and `resume`."""
        uploads = HttpUploadFactory(self.session, resume=fields.pop("resume", "acknowledged"))  # type: ignore[arg-type]
        return self.forward_with(uploads, url, retry_policy, **fields)

    def forward_with(
        self, uploads: UploadFactory, url: str, retry_policy: RetryPolicy = QUICK, **fields: object
    ) -> "asyncio.Task[None]":
        """Start forwarding the log to this URL with uploads of this kind; `fields` are those of the target."""
        sink = LogForwarder(uploads, retry_policy, self.host_recovery, self.clock)
        known = {"sink_id": 1, "build_uuid": "u-1", "app_id": "app", "build_id": "b1", "metadata_json": "null"}
        target = SinkTarget(**{**known, "url": url, **fields})  # type: ignore[arg-type]
        return asyncio.ensure_future(sink.forward(target, self.log, self.ledger, lambda: self.finished_at))


@pytest.fixture
async def kafka() -> AsyncIterator[KafkaClusters]:
    """Clusters with a short request timeout."""
    settings = load_settings({"SHUTTLE_KAFKA_REQUEST_TIMEOUT_SECONDS": "5"})
    clusters = KafkaClusters(AddressPolicy(allow_loopback=True), settings)
    yield clusters
    await clusters.close()


@pytest.fixture
async def build(tmp_path: Path) -> AsyncIterator[Build]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield Build(Spool(tmp_path / "log"), session)
