"""Reports of an end that are repeated after the build was resumed: they do not end the build that resumes it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from shuttle.build import Build, Ending, State
from shuttle.store import Database, Tx
from shuttle.store.record_failures import FailureReport, end_record, failures_of, record_failure
from shuttle.store.record_states import StateReport, record_state, states_of
from shuttle.store.records import create_record, known_build
from shuttle.vault import Vault
from tests.contract.store.test_records import new_record

FAILED = Ending(State.FAILED, "reported_failure", "no")
REPORTS = [
    partial(record_failure, report=FailureReport(None, "ansible", "It broke.", details={"task": 7})),
    partial(record_failure, report=FailureReport(0, "ansible", "It broke.")),
    partial(record_state, report=StateReport(100, status="failed", message="no")),
    partial(end_record, ending=FAILED),
]
IDS = ["failure of the current state", "failure", "state", "ending"]


@pytest.fixture
async def build(database: Database, vault: Vault) -> Build:
    return (await database.run(create_record, new_record(vault)))[0]


async def resume(database: Database, vault: Vault, build: Build, number: int = 2) -> Build:
    resumed = new_record(vault, number, resume_from=build.build_uuid, pending=True)
    return (await database.run(create_record, resumed))[0]


@pytest.mark.parametrize("report", REPORTS, ids=IDS)
async def test_repeated_report_of_an_end_does_not_end_a_pending_successor(
    database: Database, vault: Vault, build: Build, report: Callable[[Tx, str], Any]
):
    """Before, the successor began and ended before its CI system ran it."""
    await database.run(report, build.build_uuid)
    before = await database.run(states_of, build.build_uuid), await database.run(failures_of, build.build_uuid)
    successor = await resume(database, vault, build)
    for _ in range(2):
        await database.run(report, build.build_uuid)
    assert (await database.run(known_build, successor.build_uuid)).state is State.RECORDED
    after = await database.run(states_of, build.build_uuid), await database.run(failures_of, build.build_uuid)
    assert after == before
    assert await database.run(failures_of, successor.build_uuid) == []


@pytest.mark.parametrize("report", REPORTS, ids=IDS)
async def test_report_of_an_end_by_the_old_id_ends_a_running_successor(
    database: Database, vault: Vault, build: Build, report: Callable[[Tx, str], Any]
):
    """A client may have the old id only, and the successor may fail as the first build did."""
    await database.run(report, build.build_uuid)
    successor = await resume(database, vault, build)
    await database.run(record_state, build.build_uuid, StateReport(0, status="again"))
    await database.run(report, build.build_uuid)
    assert (await database.run(known_build, successor.build_uuid)).state is State.FAILED


async def test_another_report_of_an_end_ends_a_pending_successor(database: Database, vault: Vault, build: Build):
    await database.run(record_failure, build.build_uuid, FailureReport(None, "ansible", "It broke."))
    successor = await resume(database, vault, build)
    await database.run(record_failure, build.build_uuid, FailureReport(None, "ansible", "The runner does not start."))
    assert (await database.run(known_build, successor.build_uuid)).state is State.FAILED


async def test_equal_state_begins_a_pending_successor(database: Database, vault: Vault, build: Build):
    """The successor begins at the state that failed, with the same call."""
    begins = partial(record_state, report=StateReport(20, status="in_progress"))
    await database.run(begins, build.build_uuid)
    await database.run(end_record, build.build_uuid, FAILED)
    successor = await resume(database, vault, build)
    await database.run(begins, build.build_uuid)
    assert (await database.run(known_build, successor.build_uuid)).state is State.RUNNING
