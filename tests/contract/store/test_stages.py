"""The stages of a build, as recorded in the database."""

import asyncio
from typing import Any

import pytest

from shuttle.build import Checkpoint, SourceFacts
from shuttle.logs.stage_places import StageMark, StagePlace
from shuttle.store import Database
from shuttle.store.builds import find_build
from shuttle.store.claims import NewClaim, claim_build
from shuttle.store.log_segments import record_log
from shuttle.store.progress import StageBoundary, StageEvent, marks_of, record_stage_event, stages_of
from shuttle.store.transitions import attempt_trigger, become_staged, begin_staging, grant_slots
from shuttle.vault import Vault
from tests.support.shuttle_store import new_build, record

BEGIN, END = StageBoundary.BEGIN, StageBoundary.END


@pytest.fixture
async def build_uuid(database: Database, vault: Vault) -> str:
    return (await record(database, vault, new_build(vault), queue_limit=100)).build.build_uuid


async def stage(database: Database, build_uuid: str, name: str, event: StageBoundary, **fields: Any) -> int | None:
    recorded = StageEvent(f"{name}.{event}", fields.pop("branch", ""), name, event, claim_id=1, **fields)
    return await database.run(record_stage_event, build_uuid, recorded)


async def test_stage_is_a_row_from_its_beginning_to_its_end(database: Database, build_uuid: str):
    assert await stage(database, build_uuid, "fetch", BEGIN, code=10, raw_offset=0) == 1
    assert await stage(database, build_uuid, "build", BEGIN, code=100, raw_offset=5) == 2
    assert await stage(database, build_uuid, "fetch", END, exit_status=0, status="succeeded", raw_offset=5) == 1
    fetch, build = await database.run(stages_of, build_uuid)
    assert (fetch.stage, fetch.code, fetch.exit_status, fetch.status) == ("fetch", 10, 0, "succeeded")
    assert (build.stage, build.code, build.ended_at) == ("build", 99, None)
    assert (await database.run(find_build, build_uuid)).state_code == 99
    assert [mark for _, mark in marks_of([fetch, build])] == [
        StageMark(0, is_end=False, position=1),
        StageMark(5, is_end=True, position=1),
        StageMark(5, is_end=False, position=2),
    ]


async def test_repeated_event_changes_nothing(database: Database, build_uuid: str):
    assert await stage(database, build_uuid, "fetch", BEGIN, code=10, raw_offset=0) == 1
    assert await stage(database, build_uuid, "fetch", BEGIN, code=99, raw_offset=7) is None
    results = await asyncio.gather(*(stage(database, build_uuid, "fetch", END, raw_offset=at) for at in range(5)))
    assert sorted(results, key=str) == [1, None, None, None, None]
    assert [one.code for one in await database.run(stages_of, build_uuid)] == [10]


async def test_end_of_a_stage_whose_beginning_was_lost_is_kept(database: Database, build_uuid: str):
    await stage(database, build_uuid, "fetch", BEGIN, branch="linux")
    assert await stage(database, build_uuid, "fetch", END, branch="mac", status="failed") == 2
    assert [one.status for one in await database.run(stages_of, build_uuid)] == [None, "failed"]


async def test_places_are_recorded_with_the_log(database: Database, build_uuid: str):
    for name in ("fetch", "build"):
        await stage(database, build_uuid, name, BEGIN, raw_offset=0)
    places = [StagePlace(1, False, 10), StagePlace(1, True, 10), StagePlace(2, False, 10), StagePlace(2, True, 25)]
    await database.run(record_log, build_uuid, [], Checkpoint(30, {}, {}), places[:3])
    assert [(one.log_start, one.log_stop) for one in await database.run(stages_of, build_uuid)] == [
        (10, 10),
        (10, None),
    ]
    await database.run(record_log, build_uuid, [], Checkpoint(30, {}, {}), places[3:])
    assert [one.log_stop for one in await database.run(stages_of, build_uuid)] == [10, 25]


async def test_each_claim_begins_a_stage_that_ends_with_the_next_one(database: Database, build_uuid: str):
    await database.run(begin_staging, build_uuid)
    await database.run(become_staged, build_uuid, SourceFacts("ab" * 32, 5, "application/gzip"), "")
    await database.run(grant_slots, 1)
    await database.run(attempt_trigger, build_uuid)
    for nonce in ("first", "first", "second"):
        await database.run(claim_build, build_uuid, NewClaim(1, "", nonce, f"setup {nonce}", f"run {nonce}"))
    await stage(database, build_uuid, "fetch", BEGIN, code=10)
    found = await database.run(stages_of, build_uuid)
    assert [(one.stage, one.code, one.status) for one in found] == [
        ("claim", 5, "succeeded"),
        ("claim", 5, "succeeded"),
        ("fetch", 10, None),
    ]
