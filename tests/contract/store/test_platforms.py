"""The records of a build's platforms in the transactions that record, claim and end the build, on both databases."""

from dataclasses import replace
from functools import partial

import pytest

from shuttle.build import STOP_ENDINGS, Build, Ending, State, StopCause
from shuttle.errors import ConflictError
from shuttle.standing import Standing
from shuttle.store import Database
from shuttle.store.accept import Accepted, AcceptRequest, record_all
from shuttle.store.apps import mark_app_deleted, stop_builds
from shuttle.store.builds import reread
from shuttle.store.claims import Claim, NewClaim, claim_build, end_claim
from shuttle.store.new_build import NewBuild, NewChild
from shuttle.store.platforms import platform_records
from shuttle.store.progress import StageBoundary, StageEvent, record_stage_event
from shuttle.store.record_ends import abandoned_records
from shuttle.store.record_failures import failures_of
from shuttle.store.transitions import attempt_trigger, begin_staging, finish_build
from shuttle.vault import Vault
from tests.support.clock import SetClock
from tests.support.shuttle_store import new_build

UUID = "00000000-0000-4000-8000-0000000001{:02}"
NAMES = ("aws", "gcp")


async def records(database: Database, build: Build) -> dict[str, tuple[State, str | None]]:
    found = await database.run(platform_records, await database.run(reread, build))
    return {name: (child.state, child.reason) for name, child in found.items()}


def request(vault: Vault, new: NewBuild) -> AcceptRequest:
    return AcceptRequest(new, SetClock().moment(), None, partial(vault.matches, b"request"))


def wanted(vault: Vault, build_id: str = "1") -> AcceptRequest:
    children = [
        NewChild(name, UUID.format(int(build_id) * 10 + at), f"{build_id}-{name}") for at, name in enumerate(NAMES)
    ]
    new = new_build(vault, build_id=build_id)
    return request(vault, replace(new, record={"platforms": list(NAMES)}, children=children))


@pytest.fixture
async def build(database: Database, vault: Vault) -> Build:
    (accepted,) = await database.run(record_all, [wanted(vault)])
    assert isinstance(accepted, Accepted)
    return accepted.build


async def claimed(database: Database, build: Build, name: str) -> Claim:
    await database.run(begin_staging, build.build_uuid)
    await database.run(attempt_trigger, build.build_uuid)
    return await database.run(claim_build, build.build_uuid, NewClaim(1, name, f"n-{name}", f"s-{name}", f"r-{name}"))


async def test_record_of_a_platform_is_moved_by_the_claim_and_the_end_of_its_branch(database: Database, build: Build):
    assert await records(database, build) == dict.fromkeys(NAMES, (State.RECORDED, None))
    aws, gcp = [await claimed(database, build, name) for name in NAMES]
    await database.run(end_claim, aws, 0)
    assert await records(database, build) == {"aws": (State.SUCCEEDED, None), "gcp": (State.RUNNING, None)}
    for exit_status in (3, 0):  # only the first end has an effect
        await database.run(end_claim, gcp, exit_status)
    assert (await records(database, build))["gcp"] == (State.FAILED, "build_failed")
    child = (await database.run(platform_records, await database.run(reread, build)))["gcp"]
    assert [row.state_code for row in await database.run(failures_of, child.build_uuid)] == [5]


async def test_state_of_a_build_is_that_of_its_slowest_platform(database: Database, build: Build):
    """Before, it was that of the branch which had reported last: it went back and forth."""

    async def report(name: str, code: int) -> int | None:
        event = StageEvent(f"{name}.{code}", name, f"stage {code}", StageBoundary.BEGIN, code=code)
        await database.run(record_stage_event, build.build_uuid, event)
        return (await database.run(reread, build)).state_code

    aws, gcp = [await claimed(database, build, name) for name in NAMES]
    assert [await report("aws", 10), await report("aws", 20), await report("gcp", 10)] == [5, 5, 10]
    await database.run(end_claim, gcp, 3)
    assert await report("aws", 95) == 10, "where the build failed"
    await database.run(end_claim, aws, 0)
    assert (await database.run(reread, build)).state_code == 10


async def test_unclaimed_platform_ends_with_the_build(database: Database, build: Build):
    aws = await claimed(database, build, "aws")
    await database.run(end_claim, aws, 0)
    await database.run(finish_build, build.build_uuid, Ending(State.FAILED, "platform_failed", ""))
    assert (await records(database, build))["gcp"] == (State.FAILED, "parent_ended")


async def test_id_of_a_platform_conflicts_with_a_build_of_the_same_batch(database: Database, vault: Vault):
    of_a_platform = request(vault, new_build(vault, build_id="1-gcp"))
    results = await database.run(record_all, [of_a_platform, wanted(vault), wanted(vault, "2")])
    assert [isinstance(result, ConflictError) for result in results] == [False, True, False]
    again = await database.run(record_all, [wanted(vault, "2")])
    assert isinstance(again[0], Accepted)
    assert again[0].replayed


async def test_record_of_a_platform_is_not_abandoned_while_its_build_waits(
    database: Database, build: Build, clock: SetClock
):
    clock.forward(1000)
    assert await database.run(abandoned_records, 500, limit=10) == []


async def test_records_of_running_platforms_of_a_deleted_app_end_with_their_build(database: Database, build: Build):
    """Their branches still run: a stop of the record by itself is refused for that reason."""
    await claimed(database, build, "aws")
    to_end = await database.run(mark_app_deleted, build.app_id, Standing.CONTROLLER)
    assert to_end == [build.build_uuid]
    await database.run(stop_builds, to_end)
    assert await records(database, build) == {"aws": (State.RUNNING, None), "gcp": (State.RECORDED, None)}
    await database.run(finish_build, build.build_uuid, STOP_ENDINGS[StopCause.STOPPED])
    assert {state for state, _ in (await records(database, build)).values()} == {State.FAILED}
