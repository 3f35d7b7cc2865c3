"""Two connections ask at the same moment: what one of them committed, the other one sees before it writes."""

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from shuttle.build import Api, Ending, SourceFacts, State, StopCause
from shuttle.errors import ConflictError, GoneError
from shuttle.standing import Standing
from shuttle.store import Database, Tx
from shuttle.store.accept import Accepted
from shuttle.store.agent import record_report
from shuttle.store.build_numbers import take_number
from shuttle.store.builds import find_build, page_of_builds
from shuttle.store.claims import NewClaim, claim_build, claims_of
from shuttle.store.outbox import record_attempt
from shuttle.store.pending_uploads import orphaned_uploads, register_upload
from shuttle.store.progress import StageEvent, record_stage_event
from shuttle.store.stored_outbox import StoredOutbox
from shuttle.store.transitions import (
    attempt_trigger,
    become_staged,
    begin_staging,
    finish_build,
    grant_slots,
    request_stop,
    start_running,
    waits_for,
)
from shuttle.vault import Vault
from tests.clock import SetClock
from tests.shuttle_store import attempt_at, new_build, party, record

FACTS = SourceFacts("ab" * 32, 5, "application/gzip")
# How long the first transaction waits for the second one, which has to wait for the first one where it is right.
HELD_SECONDS = 0.25


async def overlapping(two: list[Database], first: Callable[[Tx], Any], second: Callable[[Tx], Any]) -> list[Any]:
    """`first` keeps its transaction open until `second` is done too, or for HELD_SECONDS; both results, or errors.

    SQLite runs them one after the other: there `first` waits in vain.
    """
    wrote, done = threading.Event(), threading.Event()

    def hold(tx: Tx) -> Any:
        try:
            return first(tx)
        finally:
            wrote.set()
            if two[0] is not two[1]:
                done.wait(HELD_SECONDS)

    async def then() -> Any:
        await asyncio.to_thread(wrote.wait, 5)
        try:
            return await two[1].run(second)
        finally:
            done.set()

    return [*await asyncio.gather(two[0].run(hold), then(), return_exceptions=True)]


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


async def test_first_builds_of_an_app_are_recorded_though_they_come_at_once(two: list[Database], vault: Vault):
    """The violation of a key failed the whole batch of the second one."""
    for round_ in range(5):
        batches = [[new_build(vault, f"app-{round_}", f"{side}-{number}") for number in range(4)] for side in "ab"]
        recorded = await asyncio.gather(
            *(record(database, vault, new) for database, batch in zip(two, batches, strict=True) for new in batch),
            return_exceptions=True,
        )
        assert all(isinstance(each, Accepted) for each in recorded), recorded
        assert len(await two[0].run(page_of_builds, app_id=f"app-{round_}")) == 8


async def test_an_equal_request_at_the_same_moment_is_one_build(two: list[Database], vault: Vault):
    for round_ in range(5):
        new = [new_build(vault, f"app-{round_}", "1", build_uuid=f"{round_}-{side}") for side in "ab"]
        recorded = await asyncio.gather(
            *(record(database, vault, each) for database, each in zip(two, new, strict=True))
        )
        assert sorted(accepted.replayed for accepted in recorded) == [False, True]
        assert len({accepted.build.build_uuid for accepted in recorded}) == 1


async def test_another_request_of_the_same_ids_at_the_same_moment_is_refused(two: list[Database], vault: Vault):
    for round_ in range(5):
        asked = []
        for database, content in zip(two, (b"request", b"another"), strict=True):
            same = {"build_uuid": f"u-{round_}", "api": Api.LEGACY, "request_fingerprint": vault.fingerprint(content)}
            asked.append(record(database, vault, new_build(vault, f"app-{content.decode()}", **same), content))
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(result) for result in results} == {Accepted, ConflictError}


async def test_builds_of_one_app_have_positions_in_the_order_of_their_commits(two: list[Database], vault: Vault):
    """A later build of the app that got the lower position held a slot beside the earlier one."""
    for build_id in map(str, range(10)):
        await asyncio.gather(
            *(record(db, vault, new_build(vault, "app", f"{build_id}{n}")) for n, db in enumerate(two))
        )
    for build in await two[0].run(page_of_builds, app_id="app"):
        await two[0].run(begin_staging, build.build_uuid)
        await two[0].run(become_staged, build.build_uuid, FACTS, "")
    granted = await asyncio.gather(*(database.run(grant_slots, 10) for database in two))
    assert len([build_uuid for each in granted for build_uuid in each]) == 1


async def test_no_number_is_given_twice(two: list[Database]):
    def take(tx: Tx) -> int:
        return take_number(tx, "shop-5f0c7b9a-3c1d-4e55-9d0a-2b8f6a1c7e10", "job", Standing.CONTROLLER)

    assert sorted(await overlapping(two, take, take)) == [1, 2]
    assert sorted(await overlapping(two, take, take)) == [3, 4]


async def test_an_upload_that_two_register_at_once_is_pending_once(two: list[Database], clock: SetClock):
    def register(tx: Tx) -> None:
        register_upload(tx, "u1", new_object=True)

    assert await overlapping(two, register, register) == [None, None]
    later = clock.steady() + timedelta(seconds=1)
    assert await two[0].run(orphaned_uploads, later, 10) == ["u1"]


async def test_a_free_slot_is_given_to_one_build(two: list[Database], vault: Vault):
    for app_id in ("a", "b"):
        await staged(two[0], vault, app_id)
    granted = await overlapping(two, lambda tx: grant_slots(tx, 1), lambda tx: grant_slots(tx, 1))
    assert sorted(map(len, granted)) == [0, 1]


async def test_a_build_that_is_stopped_meanwhile_gets_no_slot(two: list[Database], vault: Vault):
    build_uuid = await staged(two[0], vault)
    stopped, granted = await overlapping(
        two, lambda tx: request_stop(tx, build_uuid, StopCause.STOPPED), lambda tx: grant_slots(tx, 1)
    )
    assert stopped.state is State.STOPPED
    assert granted == []
    assert (await two[0].run(find_build, build_uuid)).slot_at is None


async def test_a_stop_that_is_recorded_refuses_the_claim(two: list[Database], vault: Vault):
    build_uuid = await triggered(two[0], vault)
    new = NewClaim(3, "", "nonce", "setup", "run")
    stopped, claimed = await overlapping(
        two, lambda tx: request_stop(tx, build_uuid, StopCause.STOPPED), lambda tx: claim_build(tx, build_uuid, new)
    )
    assert stopped.stop_cause is StopCause.STOPPED
    assert isinstance(claimed, GoneError)


async def test_two_claims_at_once_leave_one_that_is_not_void(two: list[Database], vault: Vault):
    build_uuid = await triggered(two[0], vault)
    claims = [
        lambda tx, nonce=nonce: claim_build(tx, build_uuid, NewClaim(3, "", nonce, f"s{nonce}", f"r{nonce}"))
        for nonce in "ab"
    ]
    first, second = await overlapping(two, *claims)
    assert first.claim_id != second.claim_id
    running = await two[0].run(find_build, build_uuid)
    assert running.state is State.RUNNING
    assert [claim.voided_at is None for claim in await two[0].run(claims_of, build_uuid)] == [False, True]


async def test_the_checksum_of_an_end_is_that_of_the_whole_log(two: list[Database], vault: Vault):
    """A final status said 9 bytes of a log that had 31."""
    build_uuid = await staged(two[0], vault)
    waiting, ending = "-----> Waiting for a slot.\n", Ending(State.FAILED, "source_not_found", "No.")
    _, ended = await overlapping(
        two,
        lambda tx: waits_for(tx, build_uuid, "a slot", waiting),
        lambda tx: finish_build(tx, build_uuid, ending),
    )
    text = (ended.preamble + ended.log_ending).encode()
    assert waiting in ended.preamble
    assert (ended.log_bytes, ended.log_sha256) == (len(text), sha256(text).hexdigest())


async def test_no_line_of_the_preamble_erases_another(two: list[Database], vault: Vault):
    build = (await record(two[0], vault, new_build(vault))).build
    await two[0].run(begin_staging, build.build_uuid)
    await overlapping(
        two,
        lambda tx: become_staged(tx, build.build_uuid, FACTS, "-----> Source\n"),
        lambda tx: waits_for(tx, build.build_uuid, "x", "-----> Waiting for x.\n"),
    )
    assert (await two[0].run(find_build, build.build_uuid)).preamble == "-----> Source\n-----> Waiting for x.\n"


async def test_an_event_during_the_end_of_an_attempt_makes_it_due_at_once(
    two: list[Database], vault: Vault, clock: SetClock
):
    """ "Due now" was lost for five hours."""
    build_uuid = await triggered(two[0], vault, receivers=[party(vault, "http://r.example/hook")])
    outbox = StoredOutbox(two[0], vault)
    [due] = await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset())
    failed = attempt_at(due, clock, outcome="failed", next_attempt_at=clock.steady() + timedelta(hours=5))
    clock.forward(1)

    def run_it(tx: Tx) -> None:
        build = find_build(tx, build_uuid)
        assert build is not None
        assert start_running(tx, build, 3)

    assert await overlapping(two, run_it, lambda tx: record_attempt(tx, failed)) == [None, None]
    due_at = await outbox.next_due_at(busy=frozenset())
    assert due_at is not None
    assert due_at <= clock.steady()


async def test_the_end_of_an_attempt_during_an_event_makes_it_due_at_once(
    two: list[Database], vault: Vault, clock: SetClock
):
    build_uuid = await triggered(two[0], vault, receivers=[party(vault, "http://r.example/hook")])
    outbox = StoredOutbox(two[0], vault)
    [due] = await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset())
    failed = attempt_at(due, clock, outcome="failed", next_attempt_at=clock.steady() + timedelta(hours=5))
    clock.forward(1)
    new = NewClaim(3, "", "nonce", "setup", "run")
    await overlapping(two, lambda tx: record_attempt(tx, failed), lambda tx: claim_build(tx, build_uuid, new))
    due_at = await outbox.next_due_at(busy=frozenset())
    assert due_at is not None
    assert due_at <= clock.steady()


async def test_an_attempt_that_is_recorded_again_counts_once(two: list[Database], vault: Vault, clock: SetClock):
    """The answer to the first COMMIT was lost."""
    await record(two[0], vault, new_build(vault, receivers=[party(vault, "http://r.example/hook")]))
    outbox = StoredOutbox(two[0], vault)
    [due] = await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset())
    attempt = attempt_at(due, clock, outcome="failed", next_attempt_at=clock.steady())
    await outbox.record_attempt(attempt)
    await outbox.record_attempt(attempt)
    [again] = await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset())
    assert again.tries == 1


@pytest.mark.parametrize("kind", ["report", "stage"])
async def test_an_equal_report_at_the_same_moment_is_taken_once(
    two: list[Database], vault: Vault, clock: SetClock, kind: str
):
    build_uuid = await triggered(two[0], vault)

    def report(tx: Tx) -> bool:
        if kind == "report":
            return record_report(tx, build_uuid, "r1", b"{}", failure=None, facts={}, values={"A": "1"})
        return record_stage_event(tx, build_uuid, StageEvent("p1", "", "build", "begin", None, None, clock.now()))

    assert await overlapping(two, report, report) == [True, False]
