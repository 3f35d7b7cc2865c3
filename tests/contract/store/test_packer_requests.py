"""Requests by packer over REST and their runs, on both databases."""

from dataclasses import replace
from functools import partial

from shuttle.request import PackerRun
from shuttle.store import Database
from shuttle.store.accept import Accepted, AcceptRequest, record_all
from shuttle.store.packer_requests import build_of_run, newest_requests, runs_of
from shuttle.store.retain import drop_record
from shuttle.vault import Vault
from tests.support.clock import SetClock
from tests.support.shuttle_store import new_build

FIRST, SECOND = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "ab")


async def record(database: Database, vault: Vault, request_id: str, run: int) -> str:
    """Record a run; returns the uuid of its build."""
    build_id = f"{request_id}.{run}" if run else request_id
    new = replace(
        new_build(vault, build_id=build_id), packer_run=PackerRun(request_id, run, {"giturl": "http://h/x.git"})
    )
    request = AcceptRequest(new, SetClock().moment(), None, partial(vault.matches, b"request"))
    [accepted] = await database.run(record_all, [request])
    assert isinstance(accepted, Accepted)
    return accepted.build.build_uuid


async def test_runs_are_found_by_their_request_until_their_records_are_dropped(database: Database, vault: Vault):
    first = await record(database, vault, FIRST, 0)
    await record(database, vault, SECOND, 0)
    again = await record(database, vault, FIRST, 1)
    assert (await database.run(newest_requests, 10))[-2:] == [FIRST, SECOND]
    assert await database.run(newest_requests, 1) == [SECOND]
    assert [(each.run, each.build_uuid) for each in await database.run(runs_of, FIRST)] == [(0, first), (1, again)]
    found = await database.run(build_of_run, FIRST, 1)
    assert found is not None
    assert (found[0].fields, found[1].build_uuid) == ({"giturl": "http://h/x.git"}, again)
    assert await database.run(build_of_run, FIRST, 2) is None


async def test_request_is_listed_until_the_record_of_its_last_run_is_dropped(database: Database, vault: Vault):
    """Before, it was missing from the list once the record of its first run was dropped."""
    runs = [await record(database, vault, FIRST, run) for run in range(2)]
    await record(database, vault, SECOND, 0)
    runs.append(await record(database, vault, FIRST, 2))
    for left in (2, 1):
        await database.run(drop_record, runs.pop(0))
        assert len(await database.run(runs_of, FIRST)) == left
        listed = await database.run(newest_requests, 10)
        assert listed == ([FIRST, SECOND] if left == 2 else [SECOND, FIRST])
    await database.run(drop_record, runs.pop())
    assert await database.run(newest_requests, 10) == [SECOND]
