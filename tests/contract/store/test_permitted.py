"""What callers without a token may access is checked in the transaction of the action."""

import asyncio
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from shuttle.build import Api
from shuttle.errors import TokenNeededError
from shuttle.standing import Standing
from shuttle.store.apps import mark_app_deleted
from shuttle.store.build_numbers import take_number
from shuttle.store.builds import find_build
from shuttle.store.fence import Ownership, as_owner_of
from shuttle.store.intake import Intake
from shuttle.store.migrate import bring_up_to_date
from shuttle.store.permitted import builds_of_pair, check_source, newest_of_pair
from shuttle.store.retain import drop_record
from shuttle.store.tables import apps, builds
from tests.support.shuttle_store import build_row, migrate_to, new_build, record

APP = "shop-5f0c7b9a-3c1d-4e55-9d0a-2b8f6a1c7e10"
FIRST, SECOND = "aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"


def new(vault, build_id: str = "1", build_uuid: str = FIRST):
    return new_build(vault, APP, build_id, build_uuid=build_uuid)


def legacy(vault, standing: Standing, build_id: str = "1", build_uuid: str = SECOND):
    return new_build(vault, APP, build_id, build_uuid=build_uuid, api=Api.LEGACY, standing=standing)


@pytest.mark.parametrize("new_comes_first", [True, False])
async def test_order_of_requests_in_one_transaction_decides(database, vault, clock, new_comes_first: bool):
    asked = [new(vault), legacy(vault, Standing.ANONYMOUS)]
    if not new_comes_first:
        asked.reverse()
    intake, same = Intake(database, clock), partial(vault.matches, b"request")
    results = await asyncio.gather(
        *(intake.record(each, queue_limit=None, same_request=same) for each in asked), return_exceptions=True
    )
    if new_comes_first:
        assert isinstance(results[1], TokenNeededError)
        assert await database.run(find_build, SECOND) is None
    else:
        assert [build.api for build in await database.run(builds_of_pair, APP, "1", Standing.ANONYMOUS)] == [Api.LEGACY]


async def test_requests_that_are_recorded_together_do_not_need_the_app_of_the_first_one(database, vault, clock):
    """Before, all requests were refused once another replica had the app for which the first one was made."""
    intake, same = Intake(database, clock), partial(vault.matches, b"request")
    lost = Ownership("lost", 7)
    with as_owner_of(lost):
        first = asyncio.create_task(intake.record(new(vault), queue_limit=None, same_request=same))
        await asyncio.sleep(0)
    assert (await first).build.app_id == APP


@pytest.mark.parametrize("standing", list(Standing))
async def test_app_of_the_new_api_refuses_anonymous_callers(database, vault, standing: Standing):
    await record(database, vault, new(vault), queue_limit=None)
    asked = legacy(vault, standing, "2")
    if standing is Standing.ANONYMOUS:
        with pytest.raises(TokenNeededError):
            await record(database, vault, asked, queue_limit=None)
        with pytest.raises(TokenNeededError):
            await database.run(take_number, APP, f"job-of-{APP}", standing)
        return
    await record(database, vault, asked, queue_limit=None)
    with pytest.raises(TokenNeededError):
        await record(database, vault, legacy(vault, Standing.ANONYMOUS, "2"), queue_limit=None)
    for action in (
        database.run(builds_of_pair, APP, "2", Standing.ANONYMOUS),
        database.run(newest_of_pair, APP, "2", Standing.ANONYMOUS),
        database.run(check_source, SECOND, Standing.ANONYMOUS),
        database.run(mark_app_deleted, APP, Standing.ANONYMOUS),
    ):
        with pytest.raises(TokenNeededError):
            await action


async def test_app_refuses_anonymous_callers_after_its_records_were_dropped(database, vault):
    await record(database, vault, new(vault), queue_limit=None)
    await database.run(drop_record, FIRST)
    with pytest.raises(TokenNeededError):
        await record(database, vault, legacy(vault, Standing.ANONYMOUS), queue_limit=None)


async def test_anonymous_request_of_the_new_api_is_refused(database, vault):
    with pytest.raises(TokenNeededError):
        await record(database, vault, new_build(vault, APP, "1", standing=Standing.ANONYMOUS), queue_limit=None)


@pytest.mark.parametrize(
    ("apis", "made_by"),
    [
        (["new"], "new"),
        (["legacy"], "legacy"),
        (["legacy", "new"], "legacy"),
        (["new", "legacy"], "new"),
        ([], "legacy"),
    ],
)
def test_migration_sets_the_api_of_an_app_from_its_oldest_build(tmp_path: Path, apis, made_by):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shuttle.db")
    migrate_to(engine, "0008")
    at = datetime(2030, 1, 1, tzinfo=UTC)
    with engine.begin() as connection:
        connection.execute(apps.insert(), {"app_id": APP, "job_name": f"job-of-{APP}", "created_at": at})
        for number, api in enumerate(apis):
            connection.execute(builds.insert(), build_row(APP, number, at, api=api))
    bring_up_to_date(engine)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT api FROM apps")).scalar_one() == made_by
    engine.dispose()
