"""The state machine as the database keeps it: conditions, events, slots, stops."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from shuttle.build import Ending, FinalLog, SourceFacts, State, StopCause
from shuttle.errors import ConflictError, GoneError, QueueFullError, SettingsError, StoreError
from shuttle.standing import Standing
from shuttle.store.claims import NewClaim
from shuttle.store.sqlite import SqliteDatabase
from shuttle.store.store import Store
from shuttle.vault import Vault
from tests.clock import SetClock
from tests.shuttle_store import new_build, open_store, party

FACTS = SourceFacts("ab" * 32, 5, "application/gzip")


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
async def store(tmp_path, vault, clock):
    async with open_store(tmp_path, clock, vault) as opened:
        yield opened


async def accepted(store: Store, vault: Vault, app_id: str = "app", build_id: str = "1", **changes):
    new = new_build(vault, app_id, build_id, **changes)
    return (await store.record(new, b"request", queue_limit=100)).build


def a_claim(number: int, *, nonce: str = "one", branch: str = "") -> NewClaim:
    return NewClaim(number, branch, nonce, f"setup {nonce}{branch}", f"run {nonce}{branch}")


async def staged(store: Store, build_uuid: str):
    assert await store.begin_staging(build_uuid)
    build = await store.staged(build_uuid, FACTS, "-----> Source\n")
    assert build is not None
    return build


async def triggered(store: Store, build_uuid: str):
    await staged(store, build_uuid)
    assert build_uuid in await store.grant_slots(100)
    assert await store.attempt_trigger(build_uuid)
    return await store.queued(build_uuid, item=7)


async def words(store: Store, clock: SetClock):
    """The status words in the outbox, in order, delivering each."""
    from shuttle.delivery import Attempt

    told = []
    while due := await store.due_deliveries(now=clock.steady(), limit=10, busy=frozenset()):
        for delivery in due:
            body = json.loads(delivery.body)
            told.append((body["sequence"], body["status"], body["building"]))
            attempt = Attempt(
                delivery_id=delivery.delivery_id,
                started_at=clock.now(),
                began_steady_at=clock.steady(),
                took_seconds=0.1,
                outcome="delivered",
            )
            await store.record_attempt(attempt)
    return told


async def test_a_whole_life_tells_three_statuses_in_order(store, vault, clock):
    build = await accepted(store, vault, receivers=[party(vault, "http://r.example/hook")])
    await triggered(store, build.build_uuid)
    await store.claim(build.build_uuid, a_claim(3))
    running = await store.build(build.build_uuid)
    assert (running.state, running.build_number) == (State.RUNNING, 3)
    ended = await store.finish(build.build_uuid, Ending(State.SUCCEEDED), FinalLog(9, "cd" * 32, ""))
    assert ended.state is State.SUCCEEDED
    assert await words(store, clock) == [(1, "queued", False), (2, "pending", True), (3, "succeeded", False)]
    receivers, _, _ = await store.parties(build.build_uuid)
    assert [(receiver.state, receiver.attempts) for receiver in receivers] == [("done", 3)]


async def test_a_final_state_is_final(store, vault):
    build = await accepted(store, vault)
    assert await store.finish(build.build_uuid, Ending(State.FAILED, "source_not_found", "No."))
    assert await store.finish(build.build_uuid, Ending(State.STOPPED, "stopped", "No.")) is None
    assert await store.begin_staging(build.build_uuid) is None
    assert await store.request_stop(build.build_uuid, StopCause.STOPPED) is None
    assert (await store.build(build.build_uuid)).reason == "source_not_found"


async def test_the_first_jenkins_build_that_claims_has_it(store, vault):
    build = await accepted(store, vault)
    await triggered(store, build.build_uuid)
    await store.claim(build.build_uuid, a_claim(4))
    with pytest.raises(ConflictError):
        await store.claim(build.build_uuid, a_claim(5))
    assert (await store.build(build.build_uuid)).build_number == 4


async def test_only_the_jenkins_build_that_is_known_may_claim(store, vault):
    build = await accepted(store, vault)
    await triggered(store, build.build_uuid)
    await store.queued(build.build_uuid, number=4)
    with pytest.raises(ConflictError, match="build 4"):
        await store.claim(build.build_uuid, a_claim(77))
    await store.claim(build.build_uuid, a_claim(4))


async def test_one_nonce_is_answered_alike_and_another_voids_it_until_users_code_begins(store, vault):
    build = await accepted(store, vault)
    await triggered(store, build.build_uuid)
    first = await store.claim(build.build_uuid, a_claim(4))
    assert await store.claim(build.build_uuid, a_claim(4)) == first
    second = await store.claim(build.build_uuid, a_claim(4, nonce="other"))
    assert [claim.voided_at is None for claim in await store.claims(build.build_uuid)] == [False, True]
    await store.begin_claim(second.claim_id)
    for nonce in ("other", "third"):
        with pytest.raises(ConflictError):
            await store.claim(build.build_uuid, a_claim(4, nonce=nonce))


async def test_a_branch_that_claims_after_users_code_began_has_no_credentials(store, vault):
    build = await accepted(store, vault)
    await triggered(store, build.build_uuid)
    main = await store.claim(build.build_uuid, a_claim(4))
    early = await store.claim(build.build_uuid, a_claim(4, branch="early"))
    await store.begin_claim(main.claim_id)
    late = await store.claim(build.build_uuid, a_claim(4, branch="late"))
    assert (main.with_credentials, early.with_credentials, late.with_credentials) == (True, True, False)


async def test_the_first_word_on_an_end_counts(store, vault):
    build = await accepted(store, vault)
    await triggered(store, build.build_uuid)
    claim = await store.claim(build.build_uuid, a_claim(4))
    await store.end_claim(claim.claim_id, 3)
    await store.end_claim(claim.claim_id, 0)
    assert [claim.exit_status for claim in await store.claims(build.build_uuid)] == [3]


async def test_a_build_that_jenkins_lost_is_triggered_again_unless_it_is_claimed(store, vault):
    build = await accepted(store, vault)
    await triggered(store, build.build_uuid)
    await store.queued(build.build_uuid, number=4)
    lost = await store.trigger_again(build.build_uuid, 4)
    assert (lost.state, lost.build_number, lost.trigger_attempted_at) == (State.STAGING, None, None)
    await store.attempt_trigger(build.build_uuid)
    await store.queued(build.build_uuid, number=5)
    await store.claim(build.build_uuid, a_claim(5))
    assert (await store.trigger_again(build.build_uuid, 5)).state is State.RUNNING


async def test_a_claim_is_the_first_news_of_a_build_whose_trigger_answer_was_lost(store, vault):
    build = await accepted(store, vault)
    await staged(store, build.build_uuid)
    await store.grant_slots(1)
    await store.attempt_trigger(build.build_uuid)
    await store.claim(build.build_uuid, a_claim(9))
    running = await store.build(build.build_uuid)
    assert (running.state, running.build_number, running.queue_item) == (State.RUNNING, 9, None)
    assert (await store.queued(build.build_uuid, item=3, number=10)).build_number == 9


async def test_nobody_claims_what_was_never_triggered_or_was_stopped(store, vault):
    build = await accepted(store, vault)
    with pytest.raises(ConflictError):
        await store.claim(build.build_uuid, a_claim(1))
    await triggered(store, build.build_uuid)
    await store.request_stop(build.build_uuid, StopCause.STOPPED)
    with pytest.raises(GoneError):
        await store.claim(build.build_uuid, a_claim(1))


async def test_a_stop_forbids_the_trigger(store, vault):
    build = await accepted(store, vault)
    await staged(store, build.build_uuid)
    await store.request_stop(build.build_uuid, StopCause.STOPPED)
    assert await store.grant_slots(4) == []
    assert await store.attempt_trigger(build.build_uuid) is None


async def test_the_stop_of_a_build_that_jenkins_cannot_have_is_its_end(store, vault, clock):
    """In one transaction: whoever is killed between two of them would leave it stopped, and without an end."""
    build = await accepted(store, vault, receivers=[party(vault, "http://r.example/hook")])
    await staged(store, build.build_uuid)
    stopped = await store.request_stop(build.build_uuid, StopCause.DEADLINE)
    assert (stopped.state, stopped.reason) == (State.TIMEDOUT, "deadline")
    assert await words(store, clock) == [(1, "queued", False), (2, "timedout", False)]


async def test_deleting_an_app_stops_its_builds(store, vault):
    running = await accepted(store, vault, "app", "1")
    await triggered(store, running.build_uuid)
    waiting = await accepted(store, vault, "app", "2")
    over = await accepted(store, vault, "app", "3")
    await store.finish(over.build_uuid, Ending(State.FAILED, "source_not_found", "No."))
    other = await accepted(store, vault, "other", "1")
    stopped = {
        build.build_uuid: (build.state, build.stop_cause)
        for build in await store.delete_app("app", Standing.CONTROLLER)
    }
    assert stopped == {
        waiting.build_uuid: (State.STOPPED, StopCause.STOPPED),
        running.build_uuid: (State.QUEUED, StopCause.STOPPED),
    }
    assert (await store.build(other.build_uuid)).stop_cause is None
    assert not await store.app_is_over("app")


async def test_the_first_cause_of_a_stop_stays(store, vault):
    build = await accepted(store, vault)
    await triggered(store, build.build_uuid)
    await store.request_stop(build.build_uuid, StopCause.TIMEOUT)
    stopped = await store.request_stop(build.build_uuid, StopCause.STOPPED)
    assert stopped.stop_cause is StopCause.TIMEOUT


async def test_builds_of_one_app_get_their_slots_one_after_another(store, vault):
    first = await accepted(store, vault, "app", "1")
    second = await accepted(store, vault, "app", "2")
    for build in (second, first):
        await staged(store, build.build_uuid)
    assert await store.grant_slots(4) == [first.build_uuid]
    assert await store.why_parked(second.build_uuid, 4) == "build 1 of this app to end"
    await store.finish(first.build_uuid, Ending(State.FAILED, "x", "y"))
    assert await store.grant_slots(4) == [second.build_uuid]


async def test_an_earlier_build_that_is_not_staged_yet_keeps_its_turn(store, vault):
    first = await accepted(store, vault, "app", "1")
    second = await accepted(store, vault, "app", "2")
    await staged(store, second.build_uuid)
    assert await store.grant_slots(4) == []
    await staged(store, first.build_uuid)
    assert await store.grant_slots(4) == [first.build_uuid]


@pytest.mark.parametrize("set_by_seconds", [0, -3600])
async def test_slots_are_shared_fairly_between_apps(store, vault, clock, set_by_seconds):
    crowd = [await accepted(store, vault, "crowd", str(number)) for number in range(3)]
    single = await accepted(store, vault, "single", "1")
    for build in (*crowd, single):
        await staged(store, build.build_uuid)
    order = []
    for _ in range(4):
        clock.forward(1)
        [granted] = await store.grant_slots(1)
        order.append(granted)
        clock.set_by(set_by_seconds)
        assert await store.grant_slots(1) == []
        await store.finish(granted, Ending(State.FAILED, "x", "y"))
    assert order == [crowd[0].build_uuid, single.build_uuid, crowd[1].build_uuid, crowd[2].build_uuid]


async def test_reasons_for_waiting_are_in_the_preamble_once(store, vault):
    build = await accepted(store, vault)
    for _ in range(2):
        await store.waits_for(build.build_uuid, "a slot", "-----> Waiting for a slot.\n")
        await store.waits_for(build.build_uuid, None)
    seen = await store.build(build.build_uuid)
    assert seen.preamble == "-----> Waiting for a slot.\n"
    assert seen.waiting_for is None


async def test_the_log_of_a_build_that_jenkins_never_saw_is_preamble_and_reason(store, vault):
    build = await accepted(store, vault)
    await store.waits_for(build.build_uuid, "x", "-----> Waiting for x.\n")
    ended = await store.finish(build.build_uuid, Ending(State.FAILED, "source_not_found", "There is no source."))
    assert ended.log_bytes == len(b"-----> Waiting for x.\n-----> There is no source.\n")


async def test_an_equal_request_is_the_same_build_and_another_is_refused(store, vault):
    build = await accepted(store, vault)
    again = await store.record(new_build(vault), b"request", queue_limit=100)
    assert (again.replayed, again.build.build_uuid) == (True, build.build_uuid)
    with pytest.raises(ConflictError):
        await store.record(new_build(vault), b"another", queue_limit=100)


async def test_a_full_queue_refuses_new_builds_but_not_repeats(store, vault):
    await store.record(new_build(vault, "app", "1"), b"request", queue_limit=1)
    with pytest.raises(QueueFullError):
        await store.record(new_build(vault, "app", "2"), b"request", queue_limit=1)
    assert (await store.record(new_build(vault, "app", "1"), b"request", queue_limit=1)).replayed


async def test_one_failing_transaction_of_a_group_harms_no_other(store, vault):
    import asyncio

    await accepted(store, vault, "app", "0")
    results = await asyncio.gather(
        *(store.record(new_build(vault, f"app{n}", "1"), b"request", queue_limit=100) for n in range(20)),
        store.record(new_build(vault, "app", "0"), b"another", queue_limit=100),
        return_exceptions=True,
    )
    assert isinstance(results[-1], ConflictError)
    assert all(not isinstance(result, Exception) for result in results[:-1])
    assert len(await store.page(limit=100)) == 21


async def test_what_was_recorded_is_there_after_opening_again(tmp_path: Path, vault):
    async with open_store(tmp_path, vault=vault) as store:
        build = await accepted(store, vault)
    async with open_store(tmp_path, vault=vault) as store:
        assert (await store.build(build.build_uuid)).state is State.RECORDED
        assert [found.build_uuid for found in await store.unfinished()] == [build.build_uuid]


async def test_a_second_shuttle_on_the_same_file_is_refused(tmp_path: Path):
    async with open_store(tmp_path):
        with pytest.raises(SettingsError, match="Another shuttle"):
            SqliteDatabase(tmp_path / "shuttle.db")


async def test_a_closed_database_says_so(tmp_path: Path):
    async with open_store(tmp_path) as store:
        pass
    with pytest.raises(StoreError):
        await store.ping()


async def test_given_up_deliveries_can_be_replayed(store, vault, clock):
    from shuttle.delivery import Attempt

    await accepted(store, vault, receivers=[party(vault, "http://r.example/hook")])
    [due] = await store.due_deliveries(now=clock.steady(), limit=10, busy=frozenset())
    attempt = Attempt(
        delivery_id=due.delivery_id,
        started_at=clock.now(),
        began_steady_at=clock.steady(),
        took_seconds=0.1,
        outcome="gave_up",
        error="500",
    )
    await store.record_attempt(attempt)
    assert await store.due_deliveries(now=clock.steady(), limit=10, busy=frozenset()) == []
    [row] = await store.deliveries(app_id="app", build_id=None, state="gave_up", limit=10)
    assert (row.receiver, row.last_error) == ("r.example", "500")
    assert await store.replay(delivery_id=None, app_id="app", build_id=None) == 1
    [again] = await store.due_deliveries(now=clock.steady(), limit=10, busy=frozenset())
    assert again.webhook_id == due.webhook_id


@pytest.mark.parametrize("set_by_seconds", [-3600, 3600])
async def test_operators_see_when_the_next_try_is_by_the_clock_as_it_is_set_now(store, vault, clock, set_by_seconds):
    await accepted(store, vault, receivers=[party(vault, "http://r.example/hook")])
    clock.set_by(set_by_seconds)
    [row] = await store.deliveries(app_id="app", build_id=None, state=None, limit=10)
    assert row.next_attempt_at == clock.now()


async def test_dropping_a_record_scans_no_table(store, vault):
    """With 300,000 deliveries each record took 417 ms."""
    plans: list[str] = []

    def explain(connection, _cursor, statement, parameters, _context, _many) -> None:
        if statement.startswith("DELETE"):
            raw = connection.connection.driver_connection
            plans.extend(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    build = await accepted(store, vault, receivers=[party(vault, "http://r.example/hook")])
    sa.event.listen(store._database.engine, "before_cursor_execute", explain)
    await store.drop_record(build.build_uuid)
    assert await store.build(build.build_uuid) is None
    assert plans
    assert [plan for plan in plans if plan.startswith("SCAN")] == []


async def test_what_refers_to_a_deleted_row_is_found_by_an_index(store):
    """SQLite looks for it at each row that is deleted, and scans the table where no index begins with the column."""

    def scanned(connection) -> list[str]:
        inspector, found = sa.inspect(connection), []
        for table in inspector.get_table_names():
            indexes = [each["column_names"][0] for each in inspector.get_indexes(table) if not _is_partial(each)]
            indexes += [each["column_names"][0] for each in inspector.get_unique_constraints(table)]
            indexes += inspector.get_pk_constraint(table)["constrained_columns"][:1]
            columns = [key["constrained_columns"][0] for key in inspector.get_foreign_keys(table)]
            found += [f"{table}.{column}" for column in columns if column not in indexes]
        return found

    assert await store._database.run(scanned) == []


def _is_partial(index) -> bool:
    return index.get("dialect_options", {}).get("sqlite_where") is not None
