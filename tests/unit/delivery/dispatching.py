"""A running dispatcher with an outbox in memory and a clock that a test sets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from shuttle.delivery import StatusSender
from shuttle.delivery.dispatch import Dispatcher
from shuttle.delivery.failover import FailoverStatusSender
from shuttle.delivery.http import HttpStatusSender
from shuttle.delivery.signature import Signer
from shuttle.lease import Lease
from shuttle.outgoing.connector import AddressPolicy, outgoing_session
from shuttle.outgoing.endpoints import EndpointKind
from shuttle.settings import load_settings
from tests.support.clock import SetClock
from tests.support.memory_outbox import MemoryOutbox
from tests.unit.delivery.status_receiver import StatusReceiver


@dataclass
class Time:
    """A clock that a test advances, and a `sleep` by that clock."""

    clock: SetClock = field(default_factory=lambda: SetClock(datetime.now(UTC)))
    sleepers: list[tuple[datetime, asyncio.Future[None]]] = field(default_factory=list)
    asleep: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def sleep(self, seconds: float) -> None:
        until: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.clock.steady() + timedelta(seconds=seconds), until))
        async with self.asleep:
            self.asleep.notify_all()
        await until

    def waits(self) -> list[float]:
        """The remaining seconds of all current sleeps."""
        return [(at - self.clock.steady()).total_seconds() for at, until in self.sleepers if not until.done()]

    async def until_asleep(self) -> None:
        async with self.asleep:
            await self.asleep.wait_for(self.waits)

    def advance(self, seconds: float) -> None:
        self.clock.forward(seconds)
        for at, until in self.sleepers:
            if at <= self.clock.steady() and not until.done():
                until.set_result(None)


@dataclass
class Running:
    dispatcher: Dispatcher
    outbox: MemoryOutbox
    time: Time
    task: asyncio.Task[None]
    lease: Lease

    def add(self, build: str, receiver: StatusReceiver, path: str = "") -> None:
        self.outbox.add_receiver(build, f"{receiver.url}/{path or build}", receiver.url)

    async def until_recorded(self, count: int) -> None:
        async with self.outbox.recorded:
            await self.outbox.recorded.wait_for(lambda: len(self.outbox.attempts) >= count)

    @property
    def outcomes(self) -> list[str]:
        return [attempt.outcome for attempt in self.outbox.attempts]


@asynccontextmanager
async def dispatching(
    outbox: MemoryOutbox | None = None, lease_seconds: float | None = None, **environment: str
) -> AsyncIterator[Running]:
    time = Time()
    outbox = outbox or MemoryOutbox(time.clock.steady)
    outbox.clock = time.clock.steady
    lease = Lease(lease_seconds, lambda: time.clock.passed_seconds)
    lease.renew(lease.now())
    environment = {"SHUTTLE_SHUTDOWN_SECONDS": "0.2"} | environment
    async with outgoing_session(AddressPolicy(allow_loopback=True), limit=0) as session:
        settings = load_settings(environment)
        seconds = settings.shuttle_webhook_timeout_seconds
        http = HttpStatusSender(session, Signer(settings.webhook_keys), seconds)
        senders: dict[EndpointKind, StatusSender] = {EndpointKind.HTTP: http}
        senders[EndpointKind.FAILOVER] = FailoverStatusSender(senders, lease)
        dispatcher = Dispatcher(outbox, senders, settings, time.clock, lease, sleep=time.sleep)
        outbox.on_event = dispatcher.wake
        task = asyncio.create_task(dispatcher.run())
        yield Running(dispatcher, outbox, time, task, lease)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
