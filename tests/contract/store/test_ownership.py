"""Who owns an app: replicas take apps from dead ones and idle ones, and a former owner's writes are refused."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from shuttle.build import Ending, State
from shuttle.errors import NotOwnerError
from shuttle.store import Database, Topic, Tx
from shuttle.store.accept import Accepted
from shuttle.store.auto_resumes import waiting_resumes
from shuttle.store.builds import find_build
from shuttle.store.fence import Ownership, as_owner_of
from shuttle.store.ledger import builds_with_open_sinks
from shuttle.store.open_work import open_builds
from shuttle.store.ownership import orphaned_apps, owned_apps, release_apps, take_apps
from shuttle.store.postgres import PostgresDatabase
from shuttle.store.record_failures import FailureReport, record_failure
from shuttle.store.replicas import Replica, all_replicas, raise_counter, remove_replica
from shuttle.store.stored_outbox import StoredOutbox
from shuttle.store.stored_sinks import StoredSinks
from shuttle.store.transitions import become_staged, begin_staging, finish_build, grant_slots, mark_archived
from shuttle.vault import Vault
from tests.contract.store.conftest import empty
from tests.support.clock import SetClock
from tests.support.shuttle_store import endpoint, new_build, record

A, B, C = (f"{letter * 8}-0000-4000-8000-000000000000" for letter in "abc")
AT = datetime(2026, 1, 1, tzinfo=UTC)


def replica(instance: str) -> Replica:
    return Replica(instance, f"name of {instance}", "http://127.0.0.1:1", "1.0", 0, AT)


@pytest.fixture
async def two(postgres_twice: list[PostgresDatabase], clock: SetClock) -> list[PostgresDatabase]:
    """Two replicas of one database, both alive."""
    await postgres_twice[0].run(empty)
    for database, instance in zip(postgres_twice, (A, B), strict=True):
        database._clock, database.instance = clock, instance
        await database.run(raise_counter, replica(instance))
    return postgres_twice


async def accepted(database: Database, vault: Vault, app_id: str, build_id: str, **changes: object) -> Accepted:
    return await record(database, vault, new_build(vault, app_id, build_id, **changes))


async def end(database: Database, found: Accepted) -> None:
    await database.run(finish_build, found.build.build_uuid, Ending(State.FAILED, "no_agent", "No agent."))
    await database.run(mark_archived, found.build.build_uuid)


async def test_the_replica_that_accepts_an_apps_first_build_owns_it(two: list[PostgresDatabase], vault: Vault):
    first = await accepted(two[0], vault, "app", "1")
    assert first.epoch == 1
    assert await two[0].run(owned_apps) == {"app": 1}
    assert [found.build.build_id for found in await two[0].run(open_builds)] == ["1"]
    assert await two[1].run(open_builds) == []


async def test_a_build_of_anothers_app_is_left_to_its_owner(two: list[PostgresDatabase], vault: Vault):
    await accepted(two[0], vault, "app", "1")
    received: list[str] = []
    two[1].subscribe(Topic.WORKER, received.append)
    second = await accepted(two[1], vault, "app", "2")
    assert second.epoch is None
    assert received == [second.build.build_uuid]
    assert [found.build.build_id for found in await two[0].run(open_builds)] == ["1", "2"]


async def test_an_idle_app_moves_to_the_replica_that_accepts_its_next_build(two: list[PostgresDatabase], vault: Vault):
    await end(two[0], await accepted(two[0], vault, "app", "1"))
    assert (await accepted(two[1], vault, "app", "2")).epoch == 2
    assert await two[0].run(owned_apps) == {}


async def test_heartbeat_reads_no_receivers(two: list[PostgresDatabase]):
    """While a receiver was away, PostgreSQL hashed all receivers: this took 45 ms with 100,000 of them."""

    def plan(tx: Tx) -> str:
        asked: list[tuple[str, Any]] = []
        sa.event.listen(tx.connection, "before_cursor_execute", lambda *given: asked.append((given[2], given[3])))
        orphaned_apps(tx)
        [(statement, parameters)] = asked
        return "\n".join(tx.connection.exec_driver_sql(f"EXPLAIN {statement}", parameters).scalars())

    shown = await two[0].run(plan)
    assert "on deliveries" in shown
    assert "on receivers" not in shown


@pytest.mark.parametrize("rest", ["an open sink", "a pending status"])
async def test_an_app_whose_log_or_status_is_undelivered_stays_with_its_owner(
    rest: str, two: list[PostgresDatabase], vault: Vault
):
    kind = "sinks" if rest == "an open sink" else "receivers"
    first = await accepted(two[0], vault, "app", "1", **{kind: [endpoint(vault, "http://a.example/")]})
    await end(two[0], first)
    assert (await accepted(two[1], vault, "app", "2")).epoch is None


async def test_a_planned_resume_belongs_to_the_owner_of_the_app(two: list[PostgresDatabase], vault: Vault):
    wanted = {"auto_resume": {"after_seconds": 60, "attempts": 1}}
    first = await accepted(two[0], vault, "app", "1", record=wanted)
    await two[0].run(record_failure, first.build.build_uuid, FailureReport(None, "quota", "No room.", retryable=True))
    await end(two[0], first)
    assert [len(await replica.run(waiting_resumes)) for replica in two] == [1, 0]
    assert (await accepted(two[1], vault, "app", "2")).epoch is None, "the app stays"
    await two[1].run(remove_replica, (await two[1].run(all_replicas))[0])
    await two[1].run(take_apps, list(await two[1].run(orphaned_apps)))
    assert [len(await replica.run(waiting_resumes)) for replica in two] == [0, 1]


async def test_apps_of_a_removed_replica_are_taken_once(two: list[PostgresDatabase], vault: Vault):
    two[0].instance = C
    await two[0].run(raise_counter, replica(C))
    for number in range(20):
        await accepted(two[0], vault, f"app{number}", "1")
    two[0].instance = A
    assert await two[1].run(orphaned_apps) == {}
    assert await two[1].run(take_apps, ["app1"]) == []
    await two[1].run(remove_replica, replica(C))
    orphans = await two[1].run(orphaned_apps)
    assert len(orphans) == 20
    both = await asyncio.gather(*(database.run(take_apps, sorted(orphans)) for database in two))
    taken = [owned.app_id for owned in (*both[0], *both[1])]
    assert sorted(taken) == sorted(orphans)
    assert all(owned.epoch == 2 for owned in (*both[0], *both[1]))


async def test_a_replica_that_has_raised_its_counter_meanwhile_is_not_removed(two: list[PostgresDatabase]):
    (seen, _) = await two[1].run(all_replicas)
    await two[0].run(raise_counter, replica(A))
    assert not await two[1].run(remove_replica, seen)
    assert [found.instance for found in await two[1].run(all_replicas)] == [A, B]


async def test_a_removed_replica_joins_again(two: list[PostgresDatabase]):
    await two[1].run(remove_replica, replica(A))
    assert [found.instance for found in await two[0].run(raise_counter, replica(A))] == [A, B]


async def test_released_apps_can_be_taken_at_once(two: list[PostgresDatabase], vault: Vault):
    await accepted(two[0], vault, "app", "1")
    await two[0].run(release_apps)
    assert await two[1].run(take_apps, ["app"]) == [Ownership("app", 2)]


async def test_a_former_owner_writes_nothing(two: list[PostgresDatabase], vault: Vault):
    first = await accepted(two[0], vault, "app", "1")
    uuid = first.build.build_uuid
    await two[0].run(release_apps)
    await two[1].run(take_apps, ["app"])
    with as_owner_of(Ownership("app", 1)):
        with pytest.raises(NotOwnerError):
            await two[0].run(begin_staging, uuid)
        assert await two[0].run(find_build, uuid) is not None  # it may read
    with as_owner_of(Ownership("app", 2)):
        assert await two[1].run(begin_staging, uuid) is not None


async def test_an_earlier_epoch_of_the_same_owner_writes_nothing(two: list[PostgresDatabase], vault: Vault):
    first = await accepted(two[0], vault, "app", "1")
    await two[0].run(release_apps)
    assert await two[0].run(take_apps, ["app"]) == [Ownership("app", 2)]
    with as_owner_of(Ownership("app", 1)), pytest.raises(NotOwnerError):
        await two[0].run(begin_staging, first.build.build_uuid)


async def test_an_app_is_not_taken_in_the_middle_of_its_owners_transaction(two: list[PostgresDatabase], vault: Vault):
    """The transaction has checked the owner and is about to commit."""
    await accepted(two[0], vault, "app", "1")
    await two[1].run(remove_replica, replica(A))
    checked, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    from shuttle.store import fence

    def write_and_wait(tx: object) -> None:
        fence.check_owner(tx, (Ownership("app", 1),))  # type: ignore[arg-type]
        loop.call_soon_threadsafe(checked.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(5)

    writing = asyncio.ensure_future(two[0].run(write_and_wait))
    await checked.wait()
    assert await two[1].run(take_apps, ["app"]) == []
    go_on.set()
    await writing
    assert await two[1].run(take_apps, ["app"]) == [Ownership("app", 2)]


async def test_statuses_and_sinks_are_those_of_the_owner(two: list[PostgresDatabase], vault: Vault, clock: SetClock):
    ends = [endpoint(vault, "http://a.example/")]
    await accepted(two[0], vault, "app", "1", receivers=ends, sinks=ends)
    due = [
        await StoredOutbox(database, vault).due_deliveries(now=clock.steady(), limit=9, busy=frozenset())
        for database in two
    ]
    assert [len(found) for found in due] == [1, 0]
    assert [len(await database.run(builds_with_open_sinks)) for database in two] == [1, 0]


async def test_a_replica_that_is_releasing_its_apps_has_no_statuses_to_send(
    two: list[PostgresDatabase], vault: Vault, clock: SetClock
):
    await accepted(two[0], vault, "app", "1", receivers=[endpoint(vault, "http://a.example/")])
    outbox = StoredOutbox(two[0], vault)
    for takes_apps, expected in ((False, 0), (True, 1)):
        two[0].takes_apps = takes_apps
        assert len(await outbox.due_deliveries(now=clock.steady(), limit=9, busy=frozenset())) == expected
        assert (await outbox.next_due_at(busy=frozenset()) is not None) == takes_apps


async def test_an_offset_that_a_former_owner_writes_late_changes_nothing(two: list[PostgresDatabase], vault: Vault):
    first = await accepted(two[0], vault, "app", "1", sinks=[endpoint(vault, "http://a.example/")])
    sinks = StoredSinks(two[0], vault)
    (target,) = await sinks.open_sinks([first.build.build_uuid])
    await two[0].run(release_apps)
    await two[1].run(take_apps, ["app"])
    await sinks.acknowledged(target.sink_id, 5)
    await sinks.close()
    (target,) = await StoredSinks(two[1], vault).open_sinks([first.build.build_uuid])
    assert target.acked_offset == 0


async def test_a_slot_of_anothers_build_is_granted_with_a_notice(two: list[PostgresDatabase], vault: Vault):
    first = await accepted(two[0], vault, "app", "1")
    await two[0].run(begin_staging, first.build.build_uuid)
    await two[0].run(become_staged, first.build.build_uuid, first.build.source, "-----> Source\n")
    received: list[str] = []
    two[1].subscribe(Topic.WORKER, received.append)
    assert await two[1].run(grant_slots, 1) == [first.build.build_uuid]
    assert received == [first.build.build_uuid]
