"""What the rows of a record may have together, on both databases."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from shuttle.build import Build
from shuttle.errors import ConflictError
from shuttle.store import Database, Tx
from shuttle.store.record_artifacts import NewReference, add_reference, change_artifact, known_artifact
from shuttle.store.record_failures import FailureReport, record_failure
from shuttle.store.record_states import StateReport, record_state
from shuttle.store.record_variables import put_variable
from shuttle.store.records import create_record
from shuttle.vault import Vault
from tests.contract.store.test_records import new_record
from tests.support.shuttle_store import new_build
from tests.support.shuttle_store import record as record_build

LARGE = {"metadata": {"text": "x" * 65_000}}
# 130 of these have more than 8 MiB.
ROWS = 130


@pytest.fixture
async def build(database: Database, vault: Vault) -> Build:
    return (await database.run(create_record, new_record(vault)))[0]


def refused_at(tx: Tx, add: Callable[[Tx, int], Any]) -> int | None:
    """The number of the first row that is refused."""
    for number in range(ROWS):
        try:
            add(tx, number)
        except ConflictError:
            return number
    return None


async def test_states_with_large_details_are_refused_and_small_ones_still_end_the_record(
    database: Database, build: Build
):
    """Before, a process of a build could post 10,000 states of 128 KiB; each reader of the record then read 1.3 GB."""

    def add(tx: Tx, number: int) -> None:
        record_state(tx, build.build_uuid, StateReport(number % 90, details=LARGE))

    assert await database.run(refused_at, add) == 129
    with pytest.raises(ConflictError, match="8388608 bytes together"):
        await database.run(record_state, build.build_uuid, StateReport(91, message="x" * 257))
    _, row = await database.run(record_state, build.build_uuid, StateReport(100, message="x" * 256))
    assert row.ended_at is not None


async def test_report_that_closes_a_large_state_replaces_it(database: Database, build: Build):
    def add(tx: Tx, number: int) -> None:
        record_state(tx, build.build_uuid, StateReport(number % 90, details=LARGE))

    def add_most(tx: Tx) -> None:
        for number in range(129):
            add(tx, number)

    await database.run(add_most)
    closing = StateReport(128 % 90, status="completed", details=LARGE)
    _, row = await database.run(record_state, build.build_uuid, closing)
    assert row.ended_at is not None


async def test_failures_with_large_details_are_refused(database: Database, vault: Vault):
    running = (await record_build(database, vault, new_build(vault))).build

    def add(tx: Tx, number: int) -> None:
        record_failure(tx, running.build_uuid, FailureReport(number, "x", "It broke.", details=LARGE))

    assert await database.run(refused_at, add) == 128


async def test_artifacts_with_large_metadata_are_refused_and_those_that_are_known_can_be_changed(
    database: Database, build: Build
):
    def add(tx: Tx, number: int) -> None:
        reference = {"artifact_type": "file", **LARGE}
        add_reference(tx, build, NewReference(f"a{number}", reference, 1, resumable=True, final=False, expires_at=None))

    def change(tx: Tx, metadata: dict[str, Any]) -> None:
        row = known_artifact(tx, build.build_uuid, "a7")
        change_artifact(tx, build.build_uuid, row, {"reference": {**(row.reference or {}), "metadata": metadata}})

    assert await database.run(refused_at, add) == 128
    await database.run(change, {"text": "y" * 65_000})
    with pytest.raises(ConflictError):
        await database.run(change, {"text": "y" * 200_000})


@pytest.mark.parametrize("sensitive", [False, True])
async def test_large_variables_are_refused_and_those_that_are_known_can_be_set_again(
    database: Database, build: Build, sensitive: bool
):
    put = partial(put_variable, build_uuid=build.build_uuid, seal=bytes, sensitive=sensitive)

    def add(tx: Tx, number: int) -> None:
        put(tx, name=f"v{number}", values={"value": "x" * 65_000})

    assert await database.run(refused_at, add) == 129
    await database.run(partial(put, name="v7", values={"value": "y" * 65_000}))
