"""The contract of `shuttle.delivery.Outbox`, for both implementations."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest
from cryptography.fernet import Fernet

from shuttle.build import Status
from shuttle.delivery import Attempt, DueDelivery, Outbox, Outcome
from shuttle.outgoing.endpoints import EndpointKind
from shuttle.outgoing.failover import Failover
from shuttle.standing import Standing
from shuttle.store import outbox as store_outbox
from shuttle.store.builds import find_build
from shuttle.store.new_build import NewBuild, NewEndpoint, target_bytes
from shuttle.store.sqlite import SqliteDatabase
from shuttle.store.stored_outbox import StoredOutbox
from shuttle.vault import Vault
from tests.support.clock import SetClock
from tests.support.memory_outbox import MemoryOutbox
from tests.support.shuttle_store import open_database, record


class Subject(Protocol):
    """An outbox under test, and methods that add builds and events to it."""

    @property
    def outbox(self) -> Outbox:
        """The outbox under test."""

    async def accept(self, *hosts: str) -> str:
        """Add a build with a receiver at each host, and its first event; returns its uuid."""

    async def event(self, build_uuid: str) -> None:
        """Add the build's next event."""


@dataclass
class InMemory:
    clock: SetClock

    def __post_init__(self) -> None:
        self.outbox = MemoryOutbox(self.clock.steady)

    async def accept(self, *hosts: str) -> str:
        build_uuid = str(uuid.uuid4())
        for host in hosts:
            self.outbox.add_receiver(build_uuid, f"https://u:p@{host}/hook", host, {"X-Key": "k"})
        self.outbox.emit(build_uuid)
        return build_uuid

    async def event(self, build_uuid: str) -> None:
        self.outbox.emit(build_uuid)


@dataclass
class InSqlite:
    clock: SetClock
    database: SqliteDatabase

    def __post_init__(self) -> None:
        self.vault = Vault([Fernet.generate_key().decode()])
        self.outbox = StoredOutbox(self.database, self.vault)

    async def accept(self, *hosts: str) -> str:
        build_uuid = str(uuid.uuid4())
        new = NewBuild(
            standing=Standing.CONTROLLER,
            build_uuid=build_uuid,
            app_id="app",
            build_id=build_uuid,
            job_name="app-job",
            controller="",
            plan=b"",
            token_digest="",
            request_fingerprint="",
            metadata_json="null",
            human_readable_info=None,
            labels={},
            pipeline="script",
            destinations=(),
            source_url="http://h/a.zip",
            timeout_seconds=60,
            deadline_seconds=60,
            receivers=[
                NewEndpoint(
                    EndpointKind.HTTP, host, self.vault.seal(target_bytes(f"https://u:p@{host}/hook", {"X-Key": "k"}))
                )
                for host in hosts
            ],
        )
        await record(self.database, self.vault, new, b"")
        return build_uuid

    async def event(self, build_uuid: str) -> None:
        def emit(tx):
            build = find_build(tx, build_uuid)
            assert build is not None
            store_outbox.emit_event(tx, build, status=Status.PENDING, building=True)

        await self.database.run(emit)


@asynccontextmanager
async def in_memory(clock: SetClock, _tmp_path: Path) -> AsyncIterator[Subject]:
    yield InMemory(clock)


@asynccontextmanager
async def in_sqlite(clock: SetClock, tmp_path: Path) -> AsyncIterator[Subject]:
    async with open_database(tmp_path, clock) as database:
        yield InSqlite(clock, database)


Factory = Callable[[SetClock, Path], AbstractAsyncContextManager[Subject]]
FACTORIES: list[Factory] = [in_memory, in_sqlite]


@pytest.fixture
def clock() -> SetClock:
    clock = SetClock()
    clock.set_by(-3600)  # the wall clock must have no influence on deliveries
    return clock


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.__name__)
async def subject(request, clock, tmp_path):
    async with request.param(clock, tmp_path) as subject:
        yield subject


async def due(subject: Subject, clock: SetClock, *, limit=100, busy=(), full_hosts=()) -> list[DueDelivery]:
    return await subject.outbox.due_deliveries(
        now=clock.steady(), limit=limit, busy=frozenset(busy), full_hosts=frozenset(full_hosts)
    )


async def tried(
    subject: Subject,
    clock: SetClock,
    delivery: DueDelivery,
    outcome: Outcome,
    again_in: float = 0,
    *,
    asked_for: float | None = None,
    began_at: datetime | None = None,
) -> None:
    await subject.outbox.record_attempt(
        Attempt(
            delivery_id=delivery.delivery_id,
            started_at=clock.now(),
            began_steady_at=began_at or clock.steady(),
            took_seconds=0.1,
            outcome=outcome,
            status_code=200 if outcome is Outcome.DELIVERED else 500,
            error=None if outcome is Outcome.DELIVERED else "The receiver answered 500.",
            next_attempt_at=clock.steady() + timedelta(seconds=again_in) if outcome is Outcome.FAILED else None,
            asked_until=None if asked_for is None else clock.steady() + timedelta(seconds=asked_for),
        )
    )


async def test_empty_outbox_has_nothing_due(subject, clock):
    assert await due(subject, clock) == []
    assert await subject.outbox.next_due_at(busy=frozenset()) is None


async def test_new_event_is_due_now_for_every_receiver(subject, clock):
    build_uuid = await subject.accept("a.example", "b.example")
    first, second = await due(subject, clock)
    assert {first.host, second.host} == {"a.example", "b.example"}
    assert first.receiver_id != second.receiver_id
    assert (first.webhook_id, first.body) == (second.webhook_id, second.body)
    for delivery in (first, second):
        assert delivery.url == f"https://u:p@{delivery.host}/hook"
        assert dict(delivery.headers) == {"X-Key": "k"}
        assert (delivery.app_id, delivery.build_uuid) == ("app", build_uuid)
        assert (delivery.sequence, delivery.tries) == (1, 0)
        assert (delivery.payload_format, delivery.queued_steady_at) == ("standard", clock.steady())
    assert await subject.outbox.next_due_at(busy=frozenset()) == clock.steady()


async def test_events_of_a_receiver_are_due_one_by_one_in_order(subject, clock):
    build_uuid = await subject.accept("a.example")
    await subject.event(build_uuid)
    await subject.event(build_uuid)
    ids = []
    for sequence in (1, 2, 3):
        (delivery,) = await due(subject, clock)
        assert delivery.sequence == sequence
        ids.append(delivery.webhook_id)
        await tried(subject, clock, delivery, Outcome.DELIVERED)
    assert len(set(ids)) == 3
    assert await due(subject, clock) == []
    assert await subject.outbox.next_due_at(busy=frozenset()) is None


async def test_due_deliveries_respect_busy_receivers_full_hosts_and_limit(subject, clock):
    for host in ("a.example", "b.example", "b.example", "c.example"):
        await subject.accept(host)
        clock.forward(1)
    a, b, other_b, c = await due(subject, clock)
    assert [delivery.host for delivery in (a, b, other_b, c)] == ["a.example", "b.example", "b.example", "c.example"]
    assert await due(subject, clock, limit=2) == [a, b]
    assert await due(subject, clock, limit=2, busy=[a.receiver_id]) == [b, other_b]
    assert await due(subject, clock, limit=2, full_hosts=["b.example"]) == [a, c]
    everyone = frozenset({a.receiver_id, b.receiver_id, other_b.receiver_id})
    assert await subject.outbox.next_due_at(busy=everyone) == c.queued_steady_at
    assert await subject.outbox.next_due_at(busy=everyone, full_hosts=frozenset({"c.example"})) is None


async def test_failed_delivery_waits_and_blocks_later_ones(subject, clock):
    build_uuid = await subject.accept("a.example")
    await subject.event(build_uuid)
    (delivery,) = await due(subject, clock)
    await tried(subject, clock, delivery, Outcome.FAILED, again_in=5)
    assert await due(subject, clock) == []
    assert await subject.outbox.next_due_at(busy=frozenset()) == clock.steady() + timedelta(seconds=5)
    clock.forward(5)
    (again,) = await due(subject, clock)
    assert (again.delivery_id, again.webhook_id, again.tries) == (delivery.delivery_id, delivery.webhook_id, 1)


async def test_new_event_makes_failed_deliveries_due_now(subject, clock):
    build_uuid = await subject.accept("a.example")
    (delivery,) = await due(subject, clock)
    await tried(subject, clock, delivery, Outcome.FAILED, again_in=3600)
    clock.forward(1)
    await subject.event(build_uuid)
    (again,) = await due(subject, clock)
    assert again.delivery_id == delivery.delivery_id


async def test_new_event_does_not_shorten_retry_after(subject, clock):
    build_uuid = await subject.accept("a.example", "b.example")
    for delivery in await due(subject, clock):
        asked_for = 60 if delivery.host == "a.example" else None
        await tried(subject, clock, delivery, Outcome.FAILED, again_in=3600, asked_for=asked_for)
    clock.forward(1)
    await subject.event(build_uuid)
    assert [delivery.host for delivery in await due(subject, clock)] == ["b.example"]
    clock.forward(58)
    assert [delivery.host for delivery in await due(subject, clock)] == ["b.example"]
    clock.forward(1)
    patient = next(delivery for delivery in await due(subject, clock) if delivery.host == "a.example")
    await tried(subject, clock, patient, Outcome.DELIVERED)
    (head,) = [delivery for delivery in await due(subject, clock) if delivery.host == "a.example"]
    assert (head.sequence, head.tries) == (2, 0)


async def test_event_during_an_attempt_does_not_shorten_retry_after(subject, clock):
    build_uuid = await subject.accept("a.example")
    (delivery,) = await due(subject, clock)
    began_at = clock.steady()
    clock.forward(1)
    await subject.event(build_uuid)
    await tried(subject, clock, delivery, Outcome.FAILED, again_in=3600, asked_for=60, began_at=began_at)
    assert await subject.outbox.next_due_at(busy=frozenset()) == clock.steady() + timedelta(seconds=60)


async def test_event_during_a_failed_attempt_makes_the_delivery_due_now(subject, clock):
    build_uuid = await subject.accept("a.example")
    (delivery,) = await due(subject, clock)
    began_at = clock.steady()
    clock.forward(1)
    await subject.event(build_uuid)
    clock.forward(1)
    await tried(subject, clock, delivery, Outcome.FAILED, again_in=3600, began_at=began_at)
    (again,) = await due(subject, clock)
    assert (again.delivery_id, again.tries) == (delivery.delivery_id, 1)


async def test_later_events_begin_with_the_member_that_accepted_the_last(subject, clock):
    build_uuid = await subject.accept("a.example", "b.example")
    for delivery in await due(subject, clock):
        assert delivery.member == 0
        over = Failover(1, "other.example", "It is down.") if delivery.host == "a.example" else None
        await subject.outbox.record_attempt(
            Attempt(
                delivery_id=delivery.delivery_id,
                started_at=clock.now(),
                began_steady_at=clock.steady(),
                took_seconds=9,
                outcome=Outcome.DELIVERED,
                failed_over=over,
            )
        )
    await subject.event(build_uuid)
    assert {delivery.host: delivery.member for delivery in await due(subject, clock)} == {
        "a.example": 1,
        "b.example": 0,
    }


async def test_backlog_of_one_build_does_not_block_another(subject, clock):
    await subject.accept("a.example")
    (stuck,) = await due(subject, clock)
    await tried(subject, clock, stuck, Outcome.FAILED, again_in=3600)
    other = await subject.accept("a.example")
    (delivery,) = await due(subject, clock)
    assert delivery.build_uuid == other


async def test_gone_ends_only_that_receiver(subject, clock):
    build_uuid = await subject.accept("a.example", "b.example")
    await subject.event(build_uuid)
    gone = next(delivery for delivery in await due(subject, clock) if delivery.host == "a.example")
    await tried(subject, clock, gone, Outcome.GONE)
    await subject.event(build_uuid)
    assert [delivery.host for delivery in await due(subject, clock)] == ["b.example"]


async def test_later_events_get_their_own_attempts_after_one_was_given_up(subject, clock):
    build_uuid = await subject.accept("a.example")
    await subject.event(build_uuid)
    (hopeless,) = await due(subject, clock)
    await tried(subject, clock, hopeless, Outcome.GAVE_UP)
    (behind,) = await due(subject, clock)
    assert (behind.sequence, behind.tries) == (2, 0)
    await tried(subject, clock, behind, Outcome.GAVE_UP)
    assert await due(subject, clock) == []
    assert await subject.outbox.next_due_at(busy=frozenset()) is None


@pytest.mark.parametrize("seconds", [-3600, 3600])
async def test_event_during_an_attempt_counts_although_the_clock_was_set(subject, clock, seconds):
    build = await subject.accept("a.example")
    (delivery,) = await due(subject, clock)
    began_at = clock.steady()
    clock.set_by(seconds)
    clock.forward(1)
    await subject.event(build)
    await tried(subject, clock, delivery, Outcome.FAILED, again_in=3600, began_at=began_at)
    assert len(await due(subject, clock)) == 1


@pytest.mark.parametrize("seconds", [-3600, 3600])
async def test_setting_the_clock_does_not_change_when_a_delivery_is_due(subject, clock, seconds):
    await subject.accept("a.example")
    (delivery,) = await due(subject, clock)
    await tried(subject, clock, delivery, Outcome.FAILED, again_in=60)
    clock.set_by(seconds)
    clock.forward(59)
    assert await due(subject, clock) == []
    clock.forward(1)
    assert len(await due(subject, clock)) == 1
