"""Two connections run transactions at the same time: each sees what the other one committed before it writes."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import Any

import pytest

from shuttle.build import Api, Build, Ending, SourceFacts, State, StopCause
from shuttle.clock import Anchor, Boot
from shuttle.delivery import Outcome
from shuttle.errors import ConflictError, GoneError, InvalidRequestError, StoreError
from shuttle.lifecycle.steady_time import resume_steady_time
from shuttle.standing import Standing
from shuttle.store import Database, Tx
from shuttle.store.accept import Accepted, AcceptRequest, record_all
from shuttle.store.agent import record_report
from shuttle.store.auto_resumes import cancel_resumes
from shuttle.store.build_numbers import take_number
from shuttle.store.builds import find_build, page_of_builds
from shuttle.store.claims import NewClaim, claim_build, claims_of
from shuttle.store.delivery_attempts import record_attempt
from shuttle.store.pending_uploads import HELD_SECONDS, Hold, begin_deletion, hold_upload, orphaned_uploads
from shuttle.store.progress import StageBoundary, StageEvent, record_stage_event
from shuttle.store.projects import change_project, create_project
from shuttle.store.record_failures import FailureReport, record_failure
from shuttle.store.steady_time import read_steady_time, write_steady_time
from shuttle.store.stored_outbox import StoredOutbox
from shuttle.store.tables import steady_time
from shuttle.store.transitions import (
    attempt_trigger,
    become_staged,
    begin_staging,
    finish_build,
    grant_slots,
    record_waiting,
    request_stop,
    start_running,
)
from shuttle.vault import Vault
from tests.support.clock import SetClock
from tests.support.shuttle_store import attempt_at, endpoint, new_build, record

FACTS = SourceFacts("ab" * 32, 5, "application/gzip")
# How long the first transaction waits for the second one, which has to wait for the first one if the locks are right.
OPEN_SECONDS = 0.25


async def overlapping(
    connections: list[Database], first: Callable[[Tx], Any], second: Callable[[Tx], Any]
) -> list[Any]:
    """Run both transactions; `first` keeps its own open until `second` ends, or for OPEN_SECONDS.

    Returns both results or errors. SQLite runs them one after the other, so `first` does not wait there.
    """
    wrote, done = threading.Event(), threading.Event()

    def hold(tx: Tx) -> Any:
        try:
            return first(tx)
        finally:
            wrote.set()
            if connections[0] is not connections[1]:
                done.wait(OPEN_SECONDS)

    async def then() -> Any:
        await asyncio.to_thread(wrote.wait, 5)
        try:
            return await connections[1].run(second)
        finally:
            done.set()

    return [*await asyncio.gather(connections[0].run(hold), then(), return_exceptions=True)]


async def staged(database: Database, vault: Vault, app_id: str = "app", build_id: str = "1", **changes: Any) -> str:
    build = (await record(database, vault, new_build(vault, app_id, build_id, **changes))).build
    await database.run(begin_staging, build.build_uuid)
    await database.run(become_staged, build.build_uuid, FACTS, "-----> Source\n")
    return build.build_uuid


async def triggered(database: Database, vault: Vault, **changes: Any) -> str:
    build_uuid = await staged(database, vault, **changes)
    await database.run(grant_slots, 100)
    await database.run(attempt_trigger, build_uuid)
    return build_uuid


async def test_simultaneous_first_builds_of_an_app_are_recorded(connections: list[Database], vault: Vault):
    """Before, a key violation failed the whole batch of the second connection."""
    for round_ in range(5):
        batches = [[new_build(vault, f"app-{round_}", f"{side}-{number}") for number in range(4)] for side in "ab"]
        recorded = await asyncio.gather(
            *(
                record(database, vault, new)
                for database, batch in zip(connections, batches, strict=True)
                for new in batch
            ),
            return_exceptions=True,
        )
        assert all(isinstance(each, Accepted) for each in recorded), recorded
        assert len(await connections[0].run(page_of_builds, app_id=f"app-{round_}")) == 8


async def test_simultaneous_equal_requests_are_one_build(connections: list[Database], vault: Vault):
    for round_ in range(5):
        new = [new_build(vault, f"app-{round_}", "1", build_uuid=f"{round_}-{side}") for side in "ab"]
        recorded = await asyncio.gather(
            *(record(database, vault, each) for database, each in zip(connections, new, strict=True))
        )
        assert sorted(accepted.replayed for accepted in recorded) == [False, True]
        assert len({accepted.build.build_uuid for accepted in recorded}) == 1


async def test_simultaneous_different_requests_with_the_same_ids_conflict(connections: list[Database], vault: Vault):
    for round_ in range(5):
        asked = []
        for database, content in zip(connections, (b"request", b"another"), strict=True):
            same = {"build_uuid": f"u-{round_}", "api": Api.LEGACY, "request_fingerprint": vault.fingerprint(content)}
            asked.append(record(database, vault, new_build(vault, f"app-{content.decode()}", **same), content))
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(result) for result in results} == {Accepted, ConflictError}


async def test_simultaneous_builds_of_an_app_get_positions_in_commit_order(connections: list[Database], vault: Vault):
    """Before, a later build of the app could get a lower position and a slot while the earlier one had one."""
    for build_id in map(str, range(10)):
        await asyncio.gather(
            *(record(db, vault, new_build(vault, "app", f"{build_id}{n}")) for n, db in enumerate(connections))
        )
    for build in await connections[0].run(page_of_builds, app_id="app"):
        await connections[0].run(begin_staging, build.build_uuid)
        await connections[0].run(become_staged, build.build_uuid, FACTS, "")
    granted = await asyncio.gather(*(database.run(grant_slots, 10) for database in connections))
    assert len([build_uuid for each in granted for build_uuid in each]) == 1


async def test_simultaneous_requests_get_different_build_numbers(connections: list[Database]):
    def take(tx: Tx) -> int:
        return take_number(tx, "shop-5f0c7b9a-3c1d-4e55-9d0a-2b8f6a1c7e10", "job", Standing.CONTROLLER)

    assert sorted(await overlapping(connections, take, take)) == [1, 2]
    assert sorted(await overlapping(connections, take, take)) == [3, 4]


@pytest.mark.parametrize("contents", [(b"one", b"two"), (b"one", b"one")], ids=["different", "equal"])
async def test_simultaneous_requests_to_resume_a_build_make_one_successor(
    connections: list[Database], vault: Vault, clock: SetClock, contents: tuple[bytes, bytes]
):
    """Before, requests with different ids to two replicas made two builds that resumed the same one."""
    old = (await record(connections[0], vault, new_build(vault))).build
    await connections[0].run(finish_build, old.build_uuid, Ending(State.FAILED, "build_failed", "No."))

    def resume(build_id: str, content: bytes) -> Callable[[Tx], Any]:
        changes = {"resume_from": old.build_uuid, "request_fingerprint": vault.fingerprint(content)}
        new = new_build(vault, "app", build_id, **changes)
        return partial(record_all, requests=[AcceptRequest(new, clock.moment(), None, partial(vault.matches, content))])

    [first], [second] = await overlapping(connections, resume("2", contents[0]), resume("3", contents[1]))
    assert isinstance(first, Accepted)
    if contents[0] == contents[1]:
        assert (second.replayed, second.build.build_id) == (True, "2")
    else:
        assert isinstance(second, ConflictError)
    assert len(await connections[0].run(page_of_builds, app_id="app")) == 2


async def planned(database: Database, vault: Vault) -> Build:
    """A failed build that is going to be resumed automatically."""
    wanted = {"auto_resume": {"after_seconds": 1, "attempts": 1}}
    old = (await record(database, vault, new_build(vault, record=wanted))).build
    report = FailureReport(None, "quota", "The account has no room.", retryable=True)
    await database.run(record_failure, old.build_uuid, report)
    await database.run(finish_build, old.build_uuid, Ending(State.FAILED, "build_failed", "No."))
    return old


@pytest.mark.parametrize("resumed_first", [True, False])
async def test_an_automatic_resume_and_the_stop_of_the_failed_build_exclude_each_other(
    connections: list[Database], vault: Vault, clock: SetClock, resumed_first: bool
):
    old = await planned(connections[0], vault)
    new = new_build(vault, "app", "2", resume_from=old.build_uuid, automatic=True)
    request = AcceptRequest(new, clock.moment(), None, partial(vault.matches, b"request"))
    resume, stop = partial(record_all, requests=[request]), partial(cancel_resumes, build_uuids=[old.build_uuid])
    if resumed_first:
        [resumed], stopped = await overlapping(connections, resume, stop)
    else:
        stopped, [resumed] = await overlapping(connections, stop, resume)
    assert (type(resumed), stopped) == ((Accepted, False) if resumed_first else (ConflictError, True))


async def test_a_newer_build_in_the_same_transaction_replaces_the_automatic_resume(
    connections: list[Database], vault: Vault, clock: SetClock
):
    old = await planned(connections[0], vault)
    new = [new_build(vault, "app", "2"), new_build(vault, "app", "3", resume_from=old.build_uuid, automatic=True)]
    requests = [AcceptRequest(each, clock.moment(), None, partial(vault.matches, b"request")) for each in new]
    newer, resumed = await connections[0].run(record_all, requests)
    assert [type(newer), str(resumed)] == [Accepted, "Build 2 of the app is newer."]


def hold(source: str) -> Callable[[Tx], Build | Hold]:
    return lambda tx: hold_upload(tx, "u1", source, lambda tx: find_build(tx, "u1"), new_object=True)


async def test_an_upload_has_one_source_until_it_expires(connections: list[Database], clock: SetClock):
    assert await overlapping(connections, hold("a"), hold("b")) == [Hold.HELD, Hold.WAIT]
    assert await overlapping(connections, hold("a"), hold("a")) == [Hold.HELD, Hold.HELD], "both store the same bytes"
    assert await connections[0].run(orphaned_uploads, clock.steady() + timedelta(seconds=1), 10) == [("u1", "a")]
    clock.forward(HELD_SECONDS + 1)
    assert await overlapping(connections, hold("b"), hold("a")) == [Hold.HELD, Hold.WAIT]
    assert not await connections[0].run(begin_deletion, "u1", "a"), "the object of the other source was deleted"


async def test_an_upload_that_another_source_has_taken_over_is_not_recorded(
    connections: list[Database], vault: Vault, clock: SetClock
):
    await connections[0].run(hold("a"))
    clock.forward(HELD_SECONDS + 1)
    await connections[0].run(hold("b"))
    new = [new_build(vault, "app", each, build_uuid="u1", source_sha256=each) for each in "ab"]
    with pytest.raises(StoreError):
        await record(connections[0], vault, new[0])
    await record(connections[0], vault, new[1])
    assert (await connections[0].run(hold("c"))).build_id == "b", "it would replace the source of a recorded build"
    assert await connections[0].run(orphaned_uploads, clock.steady() + timedelta(days=2), 10) == []


async def test_an_upload_that_begins_while_its_build_is_recorded_finds_it(
    connections: list[Database], vault: Vault, clock: SetClock
):
    await connections[0].run(hold("a"))
    new = new_build(vault, "app", "1", build_uuid="u1", source_sha256="a")
    _, found = await overlapping(
        connections,
        partial(record_all, requests=[AcceptRequest(new, clock.moment(), None, partial(vault.matches, b"request"))]),
        hold("b"),
    )
    assert isinstance(found, Build)


@pytest.mark.parametrize("api", list(Api))
async def test_a_uuid_under_which_a_source_is_being_stored_is_in_use(
    connections: list[Database], vault: Vault, api: Api
):
    uuid = "00000000-0000-4000-8000-000000000001"
    await connections[0].run(hold_upload, uuid, "a", lambda _: None, new_object=True)
    new = new_build(vault, "app", uuid, build_uuid=uuid, api=api)
    if api is Api.LEGACY:
        with pytest.raises(StoreError):
            await record(connections[0], vault, new)
    else:
        assert (await record(connections[0], vault, new)).build.build_uuid != uuid


async def test_simultaneous_builds_of_two_apps_with_the_same_uuid_as_id_are_recorded(
    connections: list[Database], vault: Vault
):
    for uuid in (f"00000000-0000-4000-8000-00000000000{round_}" for round_ in range(5)):
        new = [new_build(vault, app, uuid, build_uuid=uuid) for app in ("a", "b", "a", "b")]
        recorded = await asyncio.gather(
            *(record(connections[n % 2 ^ n // 2], vault, each) for n, each in enumerate(new))
        )
        found = {accepted.build.app_id: accepted.build.build_uuid for accepted in recorded}
        assert len({accepted.build.build_uuid for accepted in recorded}) == 2
        assert uuid in found.values()


async def test_free_slot_is_granted_to_one_build_only(connections: list[Database], vault: Vault):
    for app_id in ("a", "b"):
        await staged(connections[0], vault, app_id)
    granted = await overlapping(connections, lambda tx: grant_slots(tx, 1), lambda tx: grant_slots(tx, 1))
    assert sorted(map(len, granted)) == [0, 1]


async def test_build_stopped_at_the_same_time_gets_no_slot(connections: list[Database], vault: Vault):
    build_uuid = await staged(connections[0], vault)
    stopped, granted = await overlapping(
        connections, lambda tx: request_stop(tx, build_uuid, StopCause.STOPPED), lambda tx: grant_slots(tx, 1)
    )
    assert stopped.state is State.STOPPED
    assert granted == []
    assert (await connections[0].run(find_build, build_uuid)).slot_at is None


async def test_stop_recorded_at_the_same_time_refuses_the_claim(connections: list[Database], vault: Vault):
    build_uuid = await triggered(connections[0], vault)
    new = NewClaim(3, "", "nonce", "setup", "run")
    stopped, claimed = await overlapping(
        connections,
        lambda tx: request_stop(tx, build_uuid, StopCause.STOPPED),
        lambda tx: claim_build(tx, build_uuid, new),
    )
    assert stopped.stop_cause is StopCause.STOPPED
    assert isinstance(claimed, GoneError)


async def test_first_of_two_simultaneous_claims_is_voided(connections: list[Database], vault: Vault):
    build_uuid = await triggered(connections[0], vault)
    claims = [
        lambda tx, nonce=nonce: claim_build(tx, build_uuid, NewClaim(3, "", nonce, f"s{nonce}", f"r{nonce}"))
        for nonce in "ab"
    ]
    first, second = await overlapping(connections, *claims)
    assert first.claim_id != second.claim_id
    running = await connections[0].run(find_build, build_uuid)
    assert running.state is State.RUNNING
    assert [claim.voided_at is None for claim in await connections[0].run(claims_of, build_uuid)] == [False, True]


async def test_final_checksum_includes_a_line_added_at_the_same_time(connections: list[Database], vault: Vault):
    """Before, a final status had a size of 9 bytes for a log of 31."""
    build_uuid = await staged(connections[0], vault)
    waiting, ending = "-----> Waiting for a slot.\n", Ending(State.FAILED, "source_not_found", "No.")
    _, ended = await overlapping(
        connections,
        lambda tx: record_waiting(tx, build_uuid, "a slot", waiting),
        lambda tx: finish_build(tx, build_uuid, ending),
    )
    text = (ended.preamble + ended.log_ending).encode()
    assert waiting in ended.preamble
    assert (ended.log_bytes, ended.log_sha256) == (len(text), sha256(text).hexdigest())


async def test_simultaneous_preamble_lines_are_both_kept(connections: list[Database], vault: Vault):
    build = (await record(connections[0], vault, new_build(vault))).build
    await connections[0].run(begin_staging, build.build_uuid)
    await overlapping(
        connections,
        lambda tx: become_staged(tx, build.build_uuid, FACTS, "-----> Source\n"),
        lambda tx: record_waiting(tx, build.build_uuid, "x", "-----> Waiting for x.\n"),
    )
    assert (await connections[0].run(find_build, build.build_uuid)).preamble == "-----> Source\n-----> Waiting for x.\n"


async def test_event_committed_before_a_failed_attempt_makes_the_delivery_due(
    connections: list[Database], vault: Vault, clock: SetClock
):
    """Before, the delivery stayed delayed for five hours."""
    build_uuid = await triggered(connections[0], vault, receivers=[endpoint(vault, "http://r.example/hook")])
    outbox = StoredOutbox(connections[0], vault)
    [due] = await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset())
    failed = attempt_at(due, clock, outcome=Outcome.FAILED, next_attempt_at=clock.steady() + timedelta(hours=5))
    clock.forward(1)

    def run_it(tx: Tx) -> None:
        build = find_build(tx, build_uuid)
        assert build is not None
        assert start_running(tx, build, 3)

    assert await overlapping(connections, run_it, lambda tx: record_attempt(tx, failed)) == [None, None]
    due_at = await outbox.next_due_at(busy=frozenset())
    assert due_at is not None
    assert due_at <= clock.steady()


async def test_event_committed_after_a_failed_attempt_makes_the_delivery_due(
    connections: list[Database], vault: Vault, clock: SetClock
):
    build_uuid = await triggered(connections[0], vault, receivers=[endpoint(vault, "http://r.example/hook")])
    outbox = StoredOutbox(connections[0], vault)
    [due] = await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset())
    failed = attempt_at(due, clock, outcome=Outcome.FAILED, next_attempt_at=clock.steady() + timedelta(hours=5))
    clock.forward(1)
    new = NewClaim(3, "", "nonce", "setup", "run")
    await overlapping(connections, lambda tx: record_attempt(tx, failed), lambda tx: claim_build(tx, build_uuid, new))
    due_at = await outbox.next_due_at(busy=frozenset())
    assert due_at is not None
    assert due_at <= clock.steady()


async def test_attempt_recorded_twice_counts_once(connections: list[Database], vault: Vault, clock: SetClock):
    """The response to the first COMMIT was lost."""
    await record(connections[0], vault, new_build(vault, receivers=[endpoint(vault, "http://r.example/hook")]))
    outbox = StoredOutbox(connections[0], vault)
    [due] = await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset())
    attempt = attempt_at(due, clock, outcome=Outcome.FAILED, next_attempt_at=clock.steady())
    await outbox.record_attempt(attempt)
    await outbox.record_attempt(attempt)
    [again] = await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset())
    assert again.tries == 1


@pytest.mark.parametrize("kind", ["report", "stage"])
async def test_simultaneous_equal_reports_are_recorded_once(
    connections: list[Database], vault: Vault, clock: SetClock, kind: str
):
    build_uuid = await triggered(connections[0], vault)

    def report(tx: Tx) -> bool:
        if kind == "report":
            return record_report(tx, build_uuid, "r1", b"{}", failure=None, facts={}, values={"A": "1"}, seal=bytes)
        return record_stage_event(tx, build_uuid, StageEvent("p1", "", "build", StageBoundary.BEGIN)) is not None

    assert await overlapping(connections, report, report) == [True, False]


def anchored(minutes: int) -> Anchor:
    return Anchor(datetime(2026, 11, 1, 12, minutes, tzinfo=UTC), Boot("boot", minutes * 60.0))


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
async def test_the_later_of_two_steady_times_stays(connections: list[Database], first: int, second: int):
    await connections[0].run(write_steady_time, anchored(0))
    both = [partial(write_steady_time, anchor=anchored(minutes)) for minutes in (first, second)]
    assert await overlapping(connections, *both) == [anchored(first), anchored(2)]
    assert await connections[0].run(read_steady_time) == anchored(2)


@pytest.mark.parametrize("apart", [timedelta(minutes=10), -timedelta(minutes=10)])
async def test_two_first_starts_agree_on_one_steady_time(connections: list[Database], apart: timedelta):
    """Before, the one behind jumped forward later, and limits that it had recorded came too early."""
    at = datetime(2026, 11, 1, tzinfo=UTC)
    clocks = [SetClock(at), SetClock(at + apart)]
    for _ in range(5):
        await connections[0].run(lambda tx: tx.execute(steady_time.delete()))
        await asyncio.gather(*map(resume_steady_time, clocks, connections))
        assert clocks[0].steady() == clocks[1].steady()


async def test_two_projects_do_not_become_parents_of_each_other(connections: list[Database]):
    """Before, both changes were accepted on PostgreSQL."""
    for name in ("a", "b"):
        await connections[0].run(create_project, name, name)
    results = await overlapping(
        connections, lambda tx: change_project(tx, "a", parent="b"), lambda tx: change_project(tx, "b", parent="a")
    )
    assert isinstance(results[1], InvalidRequestError)
