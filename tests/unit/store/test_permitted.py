"""What callers without a token may touch is decided in the transaction of the action."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from shuttle.build import Api
from shuttle.errors import TokenNeededError
from shuttle.standing import Standing
from shuttle.store.migrate import migrate
from shuttle.store.tables import apps, builds
from tests.shuttle_store import build_row, migrate_to, new_build

APP = "shop-5f0c7b9a-3c1d-4e55-9d0a-2b8f6a1c7e10"
FIRST, SECOND = "aaaaaaaa-0000-4000-8000-000000000000", "bbbbbbbb-0000-4000-8000-000000000000"


def new(vault, build_id: str = "1", build_uuid: str = FIRST):
    return new_build(vault, APP, build_id, build_uuid=build_uuid)


def legacy(vault, standing: Standing, build_id: str = "1", build_uuid: str = SECOND):
    return new_build(vault, APP, build_id, build_uuid=build_uuid, api=Api.LEGACY, standing=standing)


@pytest.mark.parametrize("new_comes_first", [True, False])
async def test_requests_recorded_in_one_transaction_count_in_their_order(store, vault, new_comes_first: bool):
    asked = [new(vault), legacy(vault, Standing.ANONYMOUS)]
    if not new_comes_first:
        asked.reverse()
    results = await asyncio.gather(
        *(store.record(each, b"request", queue_limit=None) for each in asked), return_exceptions=True
    )
    if new_comes_first:
        assert isinstance(results[1], TokenNeededError)
        assert await store.build(SECOND) is None
    else:
        assert [build.api for build in await store.builds_of(APP, "1", Standing.ANONYMOUS)] == [Api.LEGACY]


@pytest.mark.parametrize("standing", list(Standing))
async def test_an_app_that_a_new_build_made_stays_closed_to_anonymous_callers(store, vault, standing: Standing):
    await store.record(new(vault), b"request", queue_limit=None)
    asked = legacy(vault, standing, "2")
    if standing is Standing.ANONYMOUS:
        with pytest.raises(TokenNeededError):
            await store.record(asked, b"request", queue_limit=None)
        with pytest.raises(TokenNeededError):
            await store.take_number(APP, f"job-of-{APP}", standing)
        return
    await store.record(asked, b"request", queue_limit=None)
    with pytest.raises(TokenNeededError):
        await store.record(legacy(vault, Standing.ANONYMOUS, "2"), b"request", queue_limit=None)
    for action in (
        store.builds_of(APP, "2", Standing.ANONYMOUS),
        store.build_of(APP, "2", Standing.ANONYMOUS),
        store.check_source(SECOND, Standing.ANONYMOUS),
        store.delete_app(APP, Standing.ANONYMOUS),
    ):
        with pytest.raises(TokenNeededError):
            await action


async def test_an_app_stays_closed_after_its_records_were_dropped(store, vault):
    await store.record(new(vault), b"request", queue_limit=None)
    await store.drop_record(FIRST)
    with pytest.raises(TokenNeededError):
        await store.record(legacy(vault, Standing.ANONYMOUS), b"request", queue_limit=None)


async def test_an_anonymous_request_is_never_a_new_build(store, vault):
    with pytest.raises(TokenNeededError):
        await store.record(new_build(vault, APP, "1", standing=Standing.ANONYMOUS), b"request", queue_limit=None)


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
def test_migration_takes_an_apps_api_from_its_oldest_build(tmp_path: Path, apis, made_by):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/shuttle.db")
    migrate_to(engine, "0008")
    at = datetime(2030, 1, 1, tzinfo=UTC)
    with engine.begin() as connection:
        connection.execute(apps.insert(), {"app_id": APP, "job_name": f"job-of-{APP}", "created_at": at})
        for number, api in enumerate(apis):
            connection.execute(builds.insert(), build_row(APP, number, at, api=api))
    migrate(engine)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT api FROM apps")).scalar_one() == made_by
    engine.dispose()
