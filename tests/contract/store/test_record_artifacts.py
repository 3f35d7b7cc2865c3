"""The artifacts of a record: their limits hold for two calls at once, and one costs the same beside many."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from shuttle.build import Build
from shuttle.errors import ConflictError
from shuttle.store import Database, Tx, record_artifacts
from shuttle.store.agent import ArtifactLimits, record_artifact
from shuttle.store.builds import Artifact
from shuttle.store.record_artifacts import (
    ArtifactFilter,
    ArtifactRow,
    NewReference,
    add_reference,
    references_and_files,
)
from shuttle.store.record_files import record_file
from shuttle.store.records import create_record, lock_written
from shuttle.vault import Vault
from tests.contract.store.test_races import overlapping
from tests.contract.store.test_records import new_record


async def test_file_of_an_agent_has_the_state_0_in_lists(database: Database, build: Build):
    """Before, it was shown with the state 0, and left out of the list of that state."""
    file = Artifact("disk", 7, "", "text/plain")
    await database.run(record_artifact, build.build_uuid, file, ArtifactLimits(10, 10))
    for code, names in ((0, ["disk"]), (1, [])):
        rows = await database.run(references_and_files, build.build_uuid, ArtifactFilter(state_code=code))
        assert [row.name for row in rows] == names


@pytest.fixture
async def build(database: Database, vault: Vault) -> Build:
    return (await database.run(create_record, new_record(vault)))[0]


def adding(build: Build, name: str | None, path: str, **fields: Any) -> Callable[[Tx], tuple[ArtifactRow, bool]]:
    """Adds the reference as a call does."""
    reference = {"artifact_type": "ami", "artifact_path": path, **fields}
    new = NewReference(name, reference, 10, resumable=True, final=False, expires_at=None)
    return lambda tx: add_reference(tx, lock_written(tx, build.build_uuid), new)


@pytest.mark.parametrize("name", ["named", None])
async def test_adding_an_artifact_reads_few_others(
    database: Database, build: Build, name: str | None, monkeypatch: pytest.MonkeyPatch
):
    """Before, each call read all: 1,000 calls took 18 s on SQLite, and 68 s without names."""
    paths = [f"s3://100%/{number}" for number in range(50)]

    def fill(tx: Tx) -> None:
        for number, path in enumerate(paths):
            adding(build, name and f"{name}-{number}", path)(tx)

    await database.run(fill)
    read = list[str]()
    row_of = record_artifacts._row

    def counted(row: Any) -> ArtifactRow:
        read.append(row.name)
        return row_of(row)

    monkeypatch.setattr(record_artifacts, "_row", counted)
    added, is_new = await database.run(adding(build, name, "s3://100%/1\0", metadata={"a": "\0"}))
    assert (added.name, is_new) == (name or "ami-51", True)
    repeated, is_new = await database.run(adding(build, name, "s3://100%/1\0", metadata={"a": "\0"}))
    assert (repeated, is_new) == (added, False)
    assert len(read) <= 4


async def test_equal_artifact_without_a_name_is_found_whatever_the_order_of_its_metadata(
    database: Database, build: Build
):
    first, _ = await database.run(adding(build, None, "s3://x", metadata={"a": 1, "b": [{"c": 2, "d": 3}]}))
    again, is_new = await database.run(adding(build, None, "s3://x", metadata={"b": [{"d": 3, "c": 2}], "a": 1}))
    assert (again, is_new) == (first, False)


async def test_simultaneous_artifacts_do_not_exceed_the_limit(
    connections: list[Database], build: Build, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(record_artifacts, "MAX_OF_RECORD", 2)
    await connections[0].run(adding(build, None, "s3://0"))
    (added, is_new), refused = await overlapping(
        connections, adding(build, None, "s3://1"), adding(build, None, "s3://2")
    )
    assert (added.name, is_new) == ("ami-2", True)
    assert isinstance(refused, ConflictError)
    assert len(await connections[0].run(references_and_files, build.build_uuid)) == 2


async def test_simultaneous_files_do_not_exceed_the_limit_of_bytes(connections: list[Database], build: Build):
    def upload(name: str) -> Callable[[Tx], Any]:
        file, limits = Artifact(name, 6, "ab" * 32, "text/plain"), ArtifactLimits(10, 11)
        return partial(record_file, build_uuid=build.build_uuid, file=file, limits=limits, state_code=None)

    _, refused = await overlapping(connections, upload("one"), upload("two"))
    assert isinstance(refused, ConflictError)
    assert [row.name for row in await connections[0].run(references_and_files, build.build_uuid)] == ["one"]
