"""The recorded state machine: conditions, events, slots, stops."""

import json
from secrets import token_hex

import pytest
from cryptography.fernet import Fernet

from shuttle.build import Ending, FinalLog, SourceFacts, State, StopCause
from shuttle.delivery import DeliveryState, Outcome
from shuttle.errors import ConflictError, GoneError, QueueFullError
from shuttle.events import instant_text
from shuttle.standing import Standing
from shuttle.store import Database
from shuttle.store.apps import app_is_finished, assign_controller, keep_controller, mark_app_deleted, stop_builds
from shuttle.store.builds import endpoints_and_artifacts, find_build, page_of_builds
from shuttle.store.claims import NewClaim, begin_claim, claim_build, claims_of, end_claim
from shuttle.store.ledger import find_deliveries, replay_batch, replay_delivery
from shuttle.store.record_lists import BuildFilter, page_of_records
from shuttle.store.stored_outbox import StoredOutbox
from shuttle.store.transitions import (
    attempt_trigger,
    become_queued,
    become_staged,
    begin_staging,
    finish_build,
    grant_slots,
    reason_for_waiting,
    record_waiting,
    request_stop,
    search_again,
    undo_trigger,
)
from shuttle.vault import Vault
from shuttle.web.deliveries import delivery_entry
from tests.support.clock import SetClock
from tests.support.shuttle_store import attempt_at, endpoint, new_build, record

FACTS = SourceFacts("ab" * 32, 5, "application/gzip")


async def accepted(database: Database, vault: Vault, app_id: str = "app", build_id: str = "1", **changes):
    new = new_build(vault, app_id, build_id, **changes)
    return (await record(database, vault, new, queue_limit=100)).build


def a_claim(number: int, *, nonce: str = "one", branch: str = "") -> NewClaim:
    return NewClaim(number, branch, nonce, f"setup {nonce}{branch}", f"run {nonce}{branch}")


async def staged(database: Database, build_uuid: str):
    assert await database.run(begin_staging, build_uuid)
    build = await database.run(become_staged, build_uuid, FACTS, "-----> Source\n")
    assert build is not None
    return build


async def triggered(database: Database, build_uuid: str):
    await staged(database, build_uuid)
    assert build_uuid in await database.run(grant_slots, 100)
    assert await database.run(attempt_trigger, build_uuid)
    return await database.run(become_queued, build_uuid, item=7)


async def deliver_all(outbox: StoredOutbox, clock: SetClock):
    """Deliver everything in the outbox; returns (sequence, status, building) of each event in order."""
    delivered = []
    while due := await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset()):
        for delivery in due:
            body = json.loads(delivery.body)
            delivered.append((body["sequence"], body["status"], body["building"]))
            attempt = attempt_at(delivery, clock, outcome=Outcome.DELIVERED)
            await outbox.record_attempt(attempt)
    return delivered


async def test_successful_build_sends_three_statuses_in_order(database, vault, clock, outbox):
    build = await accepted(database, vault, receivers=[endpoint(vault, "http://r.example/hook")])
    await triggered(database, build.build_uuid)
    await database.run(claim_build, build.build_uuid, a_claim(3))
    running = await database.run(find_build, build.build_uuid)
    assert (running.state, running.build_number) == (State.RUNNING, 3)
    ended = await database.run(finish_build, build.build_uuid, Ending(State.SUCCEEDED), FinalLog(9, "cd" * 32, ""))
    assert ended.state is State.SUCCEEDED
    assert await deliver_all(outbox, clock) == [(1, "queued", False), (2, "pending", True), (3, "succeeded", False)]
    receivers, _, _ = await database.run(endpoints_and_artifacts, build.build_uuid)
    assert [(receiver.state, receiver.attempts) for receiver in receivers] == [("done", 3)]


async def test_final_state_never_changes(database, vault):
    build = await accepted(database, vault)
    assert await database.run(finish_build, build.build_uuid, Ending(State.FAILED, "source_not_found", "No."))
    assert await database.run(finish_build, build.build_uuid, Ending(State.STOPPED, "stopped", "No.")) is None
    assert await database.run(begin_staging, build.build_uuid) is None
    assert await database.run(request_stop, build.build_uuid, StopCause.STOPPED) is None
    assert (await database.run(find_build, build.build_uuid)).reason == "source_not_found"


async def test_first_jenkins_build_that_claims_wins(database, vault):
    build = await accepted(database, vault)
    await triggered(database, build.build_uuid)
    await database.run(claim_build, build.build_uuid, a_claim(4))
    with pytest.raises(ConflictError):
        await database.run(claim_build, build.build_uuid, a_claim(5))
    assert (await database.run(find_build, build.build_uuid)).build_number == 4


async def test_only_the_recorded_jenkins_build_may_claim(database, vault):
    build = await accepted(database, vault)
    await triggered(database, build.build_uuid)
    await database.run(become_queued, build.build_uuid, number=4)
    with pytest.raises(ConflictError, match="build 4"):
        await database.run(claim_build, build.build_uuid, a_claim(77))
    await database.run(claim_build, build.build_uuid, a_claim(4))


async def test_same_nonce_repeats_the_claim_and_another_voids_it_until_begin(database, vault):
    build = await accepted(database, vault)
    await triggered(database, build.build_uuid)
    first = await database.run(claim_build, build.build_uuid, a_claim(4))
    assert await database.run(claim_build, build.build_uuid, a_claim(4)) == first
    second = await database.run(claim_build, build.build_uuid, a_claim(4, nonce="other"))
    assert [claim.voided_at is None for claim in await database.run(claims_of, build.build_uuid)] == [False, True]
    await database.run(begin_claim, second.claim_id)
    for nonce in ("other", "third"):
        with pytest.raises(ConflictError):
            await database.run(claim_build, build.build_uuid, a_claim(4, nonce=nonce))


async def test_branch_claimed_after_begin_gets_no_credentials(database, vault):
    build = await accepted(database, vault)
    await triggered(database, build.build_uuid)
    main = await database.run(claim_build, build.build_uuid, a_claim(4))
    early = await database.run(claim_build, build.build_uuid, a_claim(4, branch="early"))
    await database.run(begin_claim, main.claim_id)
    late = await database.run(claim_build, build.build_uuid, a_claim(4, branch="late"))
    assert (main.with_credentials, early.with_credentials, late.with_credentials) == (True, True, False)


async def test_first_reported_exit_status_is_kept(database, vault):
    build = await accepted(database, vault)
    await triggered(database, build.build_uuid)
    claim = await database.run(claim_build, build.build_uuid, a_claim(4))
    await database.run(end_claim, claim, 3)
    await database.run(end_claim, claim, 0)
    assert [claim.exit_status for claim in await database.run(claims_of, build.build_uuid)] == [3]


async def test_build_lost_by_jenkins_is_triggered_again_unless_claimed(database, vault):
    build = await accepted(database, vault)
    await triggered(database, build.build_uuid)
    await database.run(become_queued, build.build_uuid, number=4)
    lost = await database.run(search_again, build.build_uuid, 4)
    assert (lost.state, lost.build_number) == (State.STAGING, None)
    assert lost.trigger_attempted_at is not None
    await database.run(undo_trigger, build.build_uuid)
    await database.run(attempt_trigger, build.build_uuid)
    await database.run(become_queued, build.build_uuid, number=5)
    await database.run(claim_build, build.build_uuid, a_claim(5))
    assert (await database.run(search_again, build.build_uuid, 5)).state is State.RUNNING


async def test_claim_is_accepted_if_the_trigger_response_was_lost(database, vault):
    build = await accepted(database, vault)
    await staged(database, build.build_uuid)
    await database.run(grant_slots, 1)
    await database.run(attempt_trigger, build.build_uuid)
    await database.run(claim_build, build.build_uuid, a_claim(9))
    running = await database.run(find_build, build.build_uuid)
    assert (running.state, running.build_number, running.queue_item) == (State.RUNNING, 9, None)
    assert (await database.run(become_queued, build.build_uuid, item=3, number=10)).build_number == 9


async def test_build_that_was_not_triggered_or_was_stopped_cannot_be_claimed(database, vault):
    build = await accepted(database, vault)
    with pytest.raises(ConflictError):
        await database.run(claim_build, build.build_uuid, a_claim(1))
    await triggered(database, build.build_uuid)
    await database.run(request_stop, build.build_uuid, StopCause.STOPPED)
    with pytest.raises(GoneError):
        await database.run(claim_build, build.build_uuid, a_claim(1))


async def test_stopped_build_is_not_triggered(database, vault):
    build = await accepted(database, vault)
    await staged(database, build.build_uuid)
    await database.run(request_stop, build.build_uuid, StopCause.STOPPED)
    assert await database.run(grant_slots, 4) == []
    assert await database.run(attempt_trigger, build.build_uuid) is None


async def test_stop_of_a_build_that_was_not_triggered_ends_it(database, vault, clock, outbox):
    """In one transaction: if the shuttle were killed between two, the build would stay stopped without an end."""
    build = await accepted(database, vault, receivers=[endpoint(vault, "http://r.example/hook")])
    await staged(database, build.build_uuid)
    stopped = await database.run(request_stop, build.build_uuid, StopCause.DEADLINE)
    assert (stopped.state, stopped.reason) == (State.TIMEDOUT, "deadline")
    assert await deliver_all(outbox, clock) == [(1, "queued", False), (2, "timedout", False)]


async def test_deleting_an_app_stops_its_builds(database, vault):
    running = await accepted(database, vault, "app", "1")
    await triggered(database, running.build_uuid)
    waiting = await accepted(database, vault, "app", "2")
    over = await accepted(database, vault, "app", "3")
    await database.run(finish_build, over.build_uuid, Ending(State.FAILED, "source_not_found", "No."))
    other = await accepted(database, vault, "other", "1")
    to_stop = await database.run(mark_app_deleted, "app", Standing.CONTROLLER)
    assert to_stop == [running.build_uuid, waiting.build_uuid]
    assert {(await database.run(find_build, build_uuid)).stop_cause for build_uuid in to_stop} == {StopCause.STOPPED}
    stopped = {build.build_uuid: (build.state, build.stop_cause) for build in await database.run(stop_builds, to_stop)}
    assert stopped == {
        waiting.build_uuid: (State.STOPPED, StopCause.STOPPED),
        running.build_uuid: (State.QUEUED, StopCause.STOPPED),
    }
    assert (await database.run(find_build, other.build_uuid)).stop_cause is None
    assert not await database.run(app_is_finished, "app")


async def test_first_cause_of_a_stop_is_kept(database, vault):
    build = await accepted(database, vault)
    await triggered(database, build.build_uuid)
    await database.run(request_stop, build.build_uuid, StopCause.TIMEOUT)
    stopped = await database.run(request_stop, build.build_uuid, StopCause.STOPPED)
    assert stopped.stop_cause is StopCause.TIMEOUT


async def test_builds_of_one_app_get_their_slots_one_after_another(database, vault):
    first = await accepted(database, vault, "app", "1")
    second = await accepted(database, vault, "app", "2")
    for build in (second, first):
        await staged(database, build.build_uuid)
    assert await database.run(grant_slots, 4) == [first.build_uuid]
    assert await database.run(reason_for_waiting, second.build_uuid, 4) == "build 1 of this app to end"
    await database.run(finish_build, first.build_uuid, Ending(State.FAILED, "x", "y"))
    assert await database.run(grant_slots, 4) == [second.build_uuid]


async def test_earlier_unstaged_build_of_an_app_goes_first(database, vault):
    first = await accepted(database, vault, "app", "1")
    second = await accepted(database, vault, "app", "2")
    await staged(database, second.build_uuid)
    assert await database.run(grant_slots, 4) == []
    await staged(database, first.build_uuid)
    assert await database.run(grant_slots, 4) == [first.build_uuid]


@pytest.mark.parametrize("set_by_seconds", [0, -3600])
async def test_slots_are_shared_fairly_between_apps(database, vault, clock, set_by_seconds):
    crowd = [await accepted(database, vault, "crowd", str(number)) for number in range(3)]
    single = await accepted(database, vault, "single", "1")
    for build in (*crowd, single):
        await staged(database, build.build_uuid)
    order = []
    for _ in range(4):
        clock.forward(1)
        [granted] = await database.run(grant_slots, 1)
        order.append(granted)
        clock.set_by(set_by_seconds)
        assert await database.run(grant_slots, 1) == []
        await database.run(finish_build, granted, Ending(State.FAILED, "x", "y"))
    assert order == [crowd[0].build_uuid, single.build_uuid, crowd[1].build_uuid, crowd[2].build_uuid]


async def test_reason_for_waiting_is_added_to_the_preamble_once(database, vault):
    build = await accepted(database, vault)
    for _ in range(2):
        await database.run(record_waiting, build.build_uuid, "a slot", "-----> Waiting for a slot.\n")
        await database.run(record_waiting, build.build_uuid, None)
    seen = await database.run(find_build, build.build_uuid)
    assert seen.preamble == "-----> Waiting for a slot.\n"
    assert seen.waiting_for is None


async def test_log_of_a_build_without_an_agent_is_preamble_and_reason(database, vault):
    build = await accepted(database, vault)
    await database.run(record_waiting, build.build_uuid, "x", "-----> Waiting for x.\n")
    ended = await database.run(
        finish_build, build.build_uuid, Ending(State.FAILED, "source_not_found", "There is no source.")
    )
    assert ended.log_bytes == len(b"-----> Waiting for x.\n-----> There is no source.\n")


async def test_equal_request_is_replayed_and_a_different_one_refused(database, vault):
    build = await accepted(database, vault)
    again = await record(database, vault, new_build(vault), queue_limit=100)
    assert (again.replayed, again.build.build_uuid) == (True, build.build_uuid)
    with pytest.raises(ConflictError):
        await record(database, vault, new_build(vault), b"another")


async def test_full_queue_refuses_new_builds_but_not_repeats(database, vault):
    await record(database, vault, new_build(vault, "app", "1"), queue_limit=1)
    with pytest.raises(QueueFullError):
        await record(database, vault, new_build(vault, "app", "2"), queue_limit=1)
    assert (await record(database, vault, new_build(vault, "app", "1"), queue_limit=1)).replayed


async def test_build_with_a_long_label_of_an_earlier_version_can_be_recorded_again(database, vault):
    """A rebuild copies the labels. PostgreSQL refuses a row of an index that has more than 2,704 bytes, compressed."""
    platform = token_hex(5000)
    build = await accepted(database, vault, labels={"platform": platform})
    listed = await database.run(page_of_records, BuildFilter(platform=platform[:128]), skip=0, limit=10)
    assert [each.build_uuid for each in listed] == [build.build_uuid]


async def test_triggered_builds_stay_on_their_controller_when_the_app_moves(database, vault):
    for number in "1234":
        build = await triggered(database, (await accepted(database, vault, build_id=number)).build_uuid)
        if number != "4":
            await database.run(finish_build, build.build_uuid, Ending(State.FAILED))
    new = await staged(database, (await accepted(database, vault, build_id="5")).build_uuid)
    first, calls = "", 0
    while first is not None:
        first, calls = await database.run(keep_controller, new, first=first, limit=2), calls + 1
    assert calls == 3
    assert (await database.run(assign_controller, new, "other")).controller == "other"
    shown = await database.run(page_of_builds, app_id="app")
    assert [build.controller for build in shown] == ["other", *["default"] * 4]
    assert await database.run(keep_controller, new, first="", limit=2) is None, "the app has moved"


async def test_failing_transaction_does_not_affect_others_of_its_group(database, vault):
    import asyncio

    await accepted(database, vault, "app", "0")
    results = await asyncio.gather(
        *(record(database, vault, new_build(vault, f"app{n}", "1"), queue_limit=100) for n in range(20)),
        record(database, vault, new_build(vault, "app", "0"), b"another"),
        return_exceptions=True,
    )
    assert isinstance(results[-1], ConflictError)
    assert all(not isinstance(result, Exception) for result in results[:-1])
    assert len(await database.run(page_of_builds, limit=100)) == 21


async def test_given_up_deliveries_can_be_replayed(database, vault, clock, outbox):
    await accepted(database, vault, receivers=[endpoint(vault, "http://r.example/hook")])
    [due] = await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset())
    attempt = attempt_at(due, clock, outcome=Outcome.GAVE_UP, error="500")
    await outbox.record_attempt(attempt)
    assert await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset()) == []
    [row] = await database.run(find_deliveries, app_id="app", build_id=None, state=DeliveryState.GAVE_UP, limit=10)
    assert (row.receiver, row.last_error) == ("r.example", "500")
    replayed = await database.run(replay_batch, vault.open, app_id="app", build_id=None, after=0, limit=10)
    assert replayed == ([due.delivery_id], set())
    [again] = await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset())
    assert again.webhook_id == due.webhook_id


async def test_delivery_whose_key_is_missing_is_not_replayed_and_does_not_keep_others_from_it(
    database, vault, clock, outbox
):
    """A pending one would keep the next start from using the other keys."""
    another = Vault([Fernet.generate_key().decode()])
    hooks = [endpoint(by, f"http://r{n}.example/hook") for n, by in enumerate((vault, another))]
    await accepted(database, vault, receivers=hooks)
    deliveries = await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset())
    for due in deliveries:
        await outbox.record_attempt(attempt_at(due, clock, outcome=Outcome.GAVE_UP, error="500"))
    ids = [due.delivery_id for due in deliveries]
    replayed = await database.run(replay_batch, vault.open, app_id="app", build_id=None, after=0, limit=10)
    assert replayed == (ids, {ids[1]})
    assert await database.run(replay_delivery, ids[1], vault.open) == ([ids[1]], {ids[1]})
    assert (await database.run(replay_delivery, 99, vault.open)).chosen == []
    [pending] = await database.run(find_deliveries, app_id="app", build_id=None, state=DeliveryState.PENDING, limit=10)
    assert pending.delivery_id == ids[0]


async def test_delivery_whose_key_is_missing_does_not_keep_others_from_being_sent(database, vault, clock, outbox):
    another = Vault([Fernet.generate_key().decode()])
    hooks = [endpoint(by, f"http://r{n}.example/hook") for n, by in enumerate((another, vault))]
    await accepted(database, vault, receivers=hooks)
    due = await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset())
    assert [(each.url, each.unsendable is None) for each in due] == [("", False), ("http://r1.example/hook", True)]
    assert "add that key to SHUTTLE_ENCRYPTION_KEYS" in due[0].unsendable


async def test_deliveries_are_listed_newest_first_by_app_build_and_state(database, vault, clock, outbox):
    hooks = [endpoint(vault, f"http://r{n}.example/hook") for n in range(2)]
    for app_id, build_id in (("a", "1"), ("b", "1"), ("a", "2")):
        await accepted(database, vault, app_id, build_id, receivers=hooks)
    for due in (await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset()))[:2]:
        await outbox.record_attempt(attempt_at(due, clock, outcome=Outcome.GAVE_UP, error="500"))

    async def listed(app_id=None, build_id=None, state=None, limit=10):
        rows = await database.run(find_deliveries, app_id=app_id, build_id=build_id, state=state, limit=limit)
        assert [row.delivery_id for row in rows] == sorted((row.delivery_id for row in rows), reverse=True)
        return [f"{row.app_id}/{row.build_id}" for row in rows]

    assert await listed() == ["a/2", "a/2", "b/1", "b/1", "a/1", "a/1"]
    assert await listed(limit=3) == ["a/2", "a/2", "b/1"]
    assert await listed("a") == ["a/2", "a/2", "a/1", "a/1"]
    assert await listed("a", limit=1) == ["a/2"]
    assert await listed("a", "1") == ["a/1", "a/1"]
    assert await listed(None, "1", limit=3) == ["b/1", "b/1", "a/1"]
    assert await listed(None, None, DeliveryState.GAVE_UP) == ["a/1", "a/1"]
    assert await listed("a", None, DeliveryState.PENDING) == ["a/2", "a/2"]
    assert await listed(None, "1", DeliveryState.PENDING) == ["b/1", "b/1"]
    assert await listed("b", None, DeliveryState.GAVE_UP) == await listed("none") == await listed(None, "none") == []


async def test_replay_continues_after_the_last_delivery_of_a_batch(database, vault, clock, outbox):
    await accepted(database, vault, receivers=[endpoint(vault, f"http://r{n}.example/hook") for n in range(3)])
    for due in await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset()):
        await outbox.record_attempt(attempt_at(due, clock, outcome=Outcome.GAVE_UP, error="500"))

    async def batch(after, build_id=None):
        return (
            await database.run(replay_batch, vault.open, app_id="app", build_id=build_id, after=after, limit=2)
        ).chosen

    assert await batch(0, "2") == []
    first = await batch(0)
    assert len(first) == 2
    last = await batch(first[-1], "1")
    assert len(last) == 1
    assert await batch(0) == []
    assert len(await outbox.due_deliveries(now=clock.steady(), limit=10, busy=frozenset())) == 3


@pytest.mark.parametrize("set_by_seconds", [-3600, 3600])
async def test_next_attempt_is_shown_in_the_current_wall_clock_time(database, vault, clock, set_by_seconds):
    await accepted(database, vault, receivers=[endpoint(vault, "http://r.example/hook")])
    clock.set_by(set_by_seconds)
    [row] = await database.run(find_deliveries, app_id="app", build_id=None, state=None, limit=10)
    assert delivery_entry(row, clock).next_attempt_at == instant_text(clock.now())
