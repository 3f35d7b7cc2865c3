"""Records: builds that another CI system runs, their states, failures and ends, on both databases."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from shuttle.build import Build, Ending, State, StopCause, project_id_of
from shuttle.errors import ConflictError
from shuttle.standing import Standing
from shuttle.store import Database, Tx
from shuttle.store.apps import mark_app_deleted, stop_builds
from shuttle.store.builds import page_of_builds
from shuttle.store.open_work import open_builds, open_work
from shuttle.store.record_ends import abandoned_records
from shuttle.store.record_failures import FailureReport, end_record, failures_of, record_failure
from shuttle.store.record_lists import BuildFilter, count_records, page_of_records
from shuttle.store.record_states import EndedBuildError, StateReport, record_state, states_of
from shuttle.store.records import NewRecord, children_of, create_record, known_build
from shuttle.store.retain import Expiring, drop_record, expired_builds
from shuttle.store.tables import reference
from shuttle.store.transitions import finish_build, grant_slots, mark_archived
from shuttle.vault import Vault
from tests.contract.store.test_races import overlapping
from tests.support.clock import SetClock
from tests.support.shuttle_store import new_build
from tests.support.shuttle_store import record as record_build

BODY = b'{"name":"one"}'
UUID = "00000000-0000-4000-8000-0000000000{:02}"


def new_record(vault: Vault, number: int = 1, **changes: Any) -> NewRecord:
    record = NewRecord(
        build_uuid=UUID.format(number),
        app_id="app",
        build_id=f"r{number}",
        job_name="job-of-app",
        request_fingerprint=vault.fingerprint(BODY),
        same_request=partial(vault.matches, BODY),
        labels={"platform": "aws"},
        fields={"created_by": "somebody"},
    )
    return replace(record, **changes)


@pytest.fixture
async def build(database: Database, vault: Vault) -> Build:
    return (await database.run(create_record, new_record(vault)))[0]


async def report(database: Database, build: Build, code: int | None, status: str | None = None, **more: Any) -> Build:
    written_uuid, _ = await database.run(record_state, build.build_uuid, StateReport(code, status=status, **more))
    return await database.run(known_build, written_uuid)


async def shown_states(database: Database, build: Build) -> list[tuple[int | None, str | None, bool]]:
    return [(row.code, row.status, row.ended_at is not None) for row in await database.run(states_of, build.build_uuid)]


async def test_record_runs_from_its_creation_and_is_listed(database: Database, build: Build):
    assert (build.state, build.api, build.state_code) == (State.RUNNING, "record", 0)
    assert [each.build_id for each in await database.run(page_of_builds)] == ["r1"]
    by_app = partial(page_of_builds, app_id="app", state=State.RUNNING)
    assert [each.build_id for each in await database.run(by_app)] == ["r1"]


@pytest.mark.parametrize(
    ("which", "has_it"),
    [
        (BuildFilter(), True),
        (BuildFilter("app", "running", "aws"), True),
        (BuildFilter("app", "running"), True),
        (BuildFilter("app"), True),
        (BuildFilter(status="failed"), False),
        (BuildFilter(platform="gcp"), False),
    ],
)
async def test_record_is_on_the_pages_whose_filter_it_passes(
    database: Database, build: Build, which: BuildFilter, has_it: bool
):
    found = await database.run(page_of_records, which, skip=0, limit=2)
    assert [each.build_uuid for each in found] == [build.build_uuid] * has_it
    assert await database.run(page_of_records, which, skip=10**17, limit=2) == []


async def test_the_stop_of_a_record_of_a_deleted_app_is_recorded_and_found_again(
    database: Database, vault: Vault, build: Build
):
    """The process may be killed before it ends the records of an app that has hundreds."""
    part = (await database.run(create_record, new_record(vault, 2, parent_uuid=build.build_uuid)))[0]
    await database.run(create_record, new_record(vault, 3, app_id="other", job_name="job-of-other"))
    to_end = await database.run(mark_app_deleted, "app", Standing.CONTROLLER)
    assert to_end == [build.build_uuid, part.build_uuid]
    stopped = [await database.run(known_build, build_uuid) for build_uuid in to_end]
    assert [(each.stop_cause, each.state) for each in stopped] == [(StopCause.STOPPED, State.RUNNING)] * 2
    assert (await database.run(open_work)).stopped_records == to_end
    await database.run(stop_builds, to_end)
    assert (await database.run(open_work)).stopped_records == []


async def test_builds_are_counted_by_status_platform_and_state_code(database: Database, vault: Vault):
    for number, labels in enumerate(({"platform": "aws"}, {"platform": "aws"}, {"platform": ""}, {}), 1):
        await database.run(create_record, new_record(vault, number, labels=labels, state_code=10 * (number // 2)))
    await record_build(database, vault, new_build(vault))
    assert await database.run(count_records) == (
        {"pending": 1, "running": 4, "completed": 0, "failed": 0},
        {"aws": 2, "unspecified": 3},
        {0: 2, 10: 2, 20: 1},
    )


async def test_record_is_not_work_of_this_service(database: Database, vault: Vault, build: Build):
    """Neither the worker takes it, nor does a later build of the app wait for it."""
    assert await database.run(open_builds) == []
    later = (await record_build(database, vault, new_build(vault))).build

    def stage(tx: Tx) -> None:
        tx.connection.exec_driver_sql(f"UPDATE builds SET staged_at = accepted_at WHERE build_id = '{later.build_id}'")

    await database.run(stage)
    assert await database.run(grant_slots, 1) == [later.build_uuid]


async def test_equal_request_gets_the_same_record_and_another_one_a_conflict(database: Database, vault: Vault):
    created = [await database.run(create_record, new_record(vault, build_uuid=UUID.format(n))) for n in (1, 2)]
    assert [(build.build_uuid, is_new) for build, is_new in created] == [
        (UUID.format(1), True),
        (UUID.format(1), False),
    ]
    with pytest.raises(ConflictError):
        await database.run(create_record, new_record(vault, same_request=lambda _: False))


async def test_simultaneous_equal_requests_make_one_record(connections: list[Database], vault: Vault):
    first, second = (partial(create_record, new=new_record(vault, build_uuid=UUID.format(n))) for n in (1, 2))
    results = await overlapping(connections, first, second)
    assert len({build.build_uuid for build, _ in results}) == 1
    assert sorted(is_new for _, is_new in results) == [False, True]


async def test_pair_of_a_build_is_not_given_to_a_record(database: Database, vault: Vault):
    await record_build(database, vault, new_build(vault))
    with pytest.raises(ConflictError):
        await database.run(create_record, new_record(vault, build_id="1"))
    numbered, _ = await database.run(create_record, new_record(vault, build_id=None))
    assert numbered.build_id == "2"


async def test_state_ends_the_one_before(database: Database, build: Build):
    await report(database, build, 10, "in_progress")
    last = await report(database, build, 25, "validated")
    assert last.state_code == 25
    assert await shown_states(database, build) == [(10, "in_progress", True), (25, "validated", False)]


async def test_equal_state_is_recorded_once(database: Database, build: Build):
    for _ in range(2):
        await report(database, build, 10, "in_progress")
    assert len(await shown_states(database, build)) == 1


async def test_completed_closes_the_state_of_the_same_code(database: Database, build: Build):
    await report(database, build, 10, "in_progress")
    await report(database, build, 10, "completed")
    assert await shown_states(database, build) == [(10, "completed", True)]


async def test_repeated_completion_is_recorded_once(database: Database, build: Build):
    await report(database, build, 10, "in_progress", message="Installing", details={"metadata": {"a": 1}})
    for _ in range(2):
        await report(database, build, 10, "completed", details={"retry_count": 1})
    assert await shown_states(database, build) == [(10, "completed", True)]
    await report(database, build, 10, "completed", message="Installed a second time")
    assert len(await shown_states(database, build)) == 2


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("in_progress", State.RUNNING),
        ("Running", State.RUNNING),
        ("failed", State.FAILED),
        ("FAILURE", State.FAILED),
        ("completed", State.SUCCEEDED),
        ("failed over to the second region", State.SUCCEEDED),
        (None, State.SUCCEEDED),
    ],
)
async def test_status_of_100_says_whether_it_is_the_end(
    database: Database, build: Build, status: str | None, state: State
):
    assert (await report(database, build, 100, status)).state is state


async def test_100_in_progress_is_completed_by_a_second_report(database: Database, build: Build):
    for status in ("in_progress", "completed"):
        ended = await report(database, build, 100, status)
    assert ended.state is State.SUCCEEDED
    assert await shown_states(database, build) == [(100, "completed", True)]


async def test_100_ends_a_record_unless_it_is_not_final(database: Database, build: Build):
    assert (await report(database, build, 100, "almost", final=False)).state is State.RUNNING
    assert (await report(database, build, None, name="a word of the same state")).state is State.RUNNING
    assert (await report(database, build, 100, "done")).state is State.SUCCEEDED
    with pytest.raises(EndedBuildError):
        await report(database, build, 50, "late")
    assert (await report(database, build, 100, "done")).state is State.SUCCEEDED, "an equal repeat"


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"code": 48, "is_final": True}, State.SUCCEEDED),
        ({"code": 48, "is_terminal": True}, State.SUCCEEDED),
        ({"code": 48, "is_error": True}, State.FAILED),
        ({"code": 48}, State.RUNNING),
    ],
)
async def test_codes_of_the_project_say_what_ends_a_record(
    database: Database, build: Build, clock: SetClock, fields: dict[str, Any], state: State
):

    row: dict[str, Any] = {"reference_id": "c", "kind": "state_code", "scope": project_id_of("app"), "name": "baked"}
    row |= {"fields": fields, "created_at": clock.now(), "updated_at": clock.now()}
    await database.run(lambda tx: tx.execute(reference.insert(), row))
    assert (await report(database, build, 100, "not a code of this project")).state is State.RUNNING
    ended = await report(database, build, None, name="Baked")
    assert (ended.state_code, ended.state) == (48, state)


async def test_unknown_name_is_a_status_of_the_current_code(database: Database, build: Build):
    await report(database, build, 30, "x")
    _, row = await database.run(record_state, build.build_uuid, StateReport(name="testing the image"))
    assert (row.code, row.status) == (30, "testing the image")


async def test_failure_ends_a_record_once(database: Database, build: Build):
    await report(database, build, 25, "x")
    failure = FailureReport(-1, "packer", "The template is wrong.", retryable=True)
    for _ in range(2):
        failed, row = await database.run(record_failure, build.build_uuid, failure)
        assert (failed.state, failed.message, row.state_code) == (State.FAILED, "The template is wrong.", 25)
    assert len(await database.run(failures_of, build.build_uuid)) == 1
    with pytest.raises(EndedBuildError):
        await database.run(end_record, build.build_uuid, Ending(State.SUCCEEDED))


async def test_children_end_with_their_parent(database: Database, vault: Vault, build: Build):
    for number in (2, 3):
        await database.run(create_record, new_record(vault, number, parent_uuid=build.build_uuid))
    done = await database.run(find_child := partial(children_of, build_uuid=build.build_uuid))
    await report(database, done[0], 100)
    await database.run(end_record, build.build_uuid, Ending(State.SUCCEEDED))
    ends = [(child.state, child.reason) for child in await database.run(find_child)]
    assert ends == [(State.SUCCEEDED, None), (State.FAILED, "parent_ended")]


async def test_a_build_that_has_ended_gets_no_more_children(database: Database, vault: Vault, build: Build):
    """Nothing would end them: the key of the build ends with it."""
    await database.run(end_record, build.build_uuid, Ending(State.SUCCEEDED))
    with pytest.raises(ConflictError):
        await database.run(create_record, new_record(vault, 2, parent_uuid=build.build_uuid))


async def test_a_build_has_at_most_100_children(database: Database, vault: Vault, build: Build):
    for number in range(2, 102):
        await database.run(create_record, new_record(vault, number, parent_uuid=build.build_uuid))
    with pytest.raises(ConflictError, match="at most 100 parts"):
        await database.run(create_record, new_record(vault, 102, parent_uuid=build.build_uuid))


async def test_calls_do_not_end_a_build_that_jenkins_runs(database: Database, vault: Vault):
    build = (await record_build(database, vault, new_build(vault))).build
    await report(database, build, 100, "done")
    await database.run(record_failure, build.build_uuid, FailureReport(None, "x", "y"))
    still = await database.run(end_record, build.build_uuid, Ending(State.SUCCEEDED))
    assert (still.state, still.state_code) == (State.RECORDED, 99)


async def test_record_is_abandoned_when_nobody_calls(database: Database, build: Build, clock: SetClock):
    clock.forward(50)
    await report(database, build, 10, "x")
    clock.forward(99)
    assert await database.run(abandoned_records, 100, 10) == []
    clock.forward(1)
    assert await database.run(abandoned_records, 100, 10) == [build.build_uuid]


async def test_writes_to_a_resumed_record_go_to_its_successor(database: Database, vault: Vault, build: Build):
    await database.run(end_record, build.build_uuid, Ending(State.FAILED, "reported_failure", "no"))
    resumed = new_record(vault, 2, resume_from=build.build_uuid, pending=True)
    successor, _ = await database.run(create_record, resumed)
    assert successor.state is State.RECORDED
    written = await report(database, build, 30, "again")
    assert (written.build_uuid, written.state) == (successor.build_uuid, State.RUNNING)


async def test_simultaneous_states_are_all_recorded(connections: list[Database], vault: Vault):
    build, _ = await connections[0].run(create_record, new_record(vault))
    await asyncio.gather(*(report(connections[n % 2], build, n, f"s{n}") for n in range(1, 20)))
    rows = await connections[0].run(states_of, build.build_uuid)
    assert sorted(row.code or 0 for row in rows) == [*range(1, 20)]
    assert [row.ended_at is None for row in rows] == [False] * 18 + [True]


async def test_record_expires_no_earlier_than_those_that_need_it(database: Database, vault: Vault, clock: SetClock):
    """Before, a build lost the files of the build that it resumes once that one's record had expired."""
    numbers = {"old": 1, "resumed": 2, "resumed twice": 3, "parent": 4, "child": 5}
    uuids = {name: UUID.format(number) for name, number in numbers.items()}
    needs: dict[str, dict[str, str]] = {
        "resumed": {"resume_from": uuids["old"]},
        "resumed twice": {"resume_from": uuids["resumed"]},
        "child": {"parent_uuid": uuids["parent"]},
    }
    for name, number in numbers.items():
        await database.run(create_record, new_record(vault, number, **needs.get(name, {})))

    async def end(name: str) -> None:
        await database.run(finish_build, uuids[name], Ending(State.FAILED, "reported_failure", "It broke."))
        await database.run(mark_archived, uuids[name])

    async def drop_expired() -> set[str]:
        names = {uuid: name for name, uuid in uuids.items()}
        dropped = set[str]()
        while found := await database.run(expired_builds, Expiring.RECORD, clock.now(), limit=1):
            await database.run(drop_record, found[0])
            dropped.add(names[found[0]])
        return dropped

    for name in ("old", "resumed", "child"):
        await end(name)
    clock.forward(1)
    assert await drop_expired() == set()
    for name in ("resumed twice", "parent"):
        await end(name)
    clock.forward(1)
    assert await drop_expired() == set(uuids)
