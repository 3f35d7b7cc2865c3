"""Values that PostgreSQL stores otherwise than SQLite, or not at all: the service answers as it does on SQLite."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.support.inprocess import Shuttle, running_shuttle
from tests.support.on_postgres import OnPostgres, on_postgres

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def postgres() -> Iterator[OnPostgres]:
    with on_postgres() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shuttle(postgres: OnPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    """A service with PostgreSQL, without a Jenkins."""
    settings = postgres.settings | {"DATABASE_URL": postgres.server.new_migrated_url()}
    async with running_shuttle(tmp_path_factory.mktemp("service"), **settings) as running:
        yield running


@pytest.mark.parametrize("key", ["a" * 35 + "%00", "a" * 35 + "%ED%A0%80", "%00" * 36])
async def test_id_that_cannot_be_stored_is_unknown_to_packer_over_rest(shuttle: Shuttle, key: str):
    """Before, it was a 500."""
    queue, responses = f"/-/packerd/build/queue/{key}", f"/-/packerd/build/responses/{key}"
    calls = [(method, queue) for method in ("GET", "POST", "DELETE")]
    calls += [("GET", f"{responses}{rest}") for rest in ("", "/0", "/0/stages", f"/0/stages/{key}")]
    answers = [await shuttle.ask(method, path) for method, path in calls]
    assert {answer.status for answer in answers} <= {400, 422}, [answer.text for answer in answers]


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Lima"])
async def test_first_and_last_instants_are_read_in_any_time_zone_of_the_database(
    postgres: OnPostgres, tmp_path_factory: pytest.TempPathFactory, zone: str
):
    """Before, they were a 500, because the driver cannot write such an instant in the zone of the session."""
    url = f"{postgres.server.new_migrated_url()}?options=-c%20timezone%3D{zone}"
    async with running_shuttle(tmp_path_factory.mktemp("zone"), **postgres.settings | {"DATABASE_URL": url}) as running:
        build = (await running.ask("POST", "/-/state/builds", json={"build_number": "1"})).json["id"]
        for expires_at in ("9999-12-31T23:59:59.000Z", "0001-01-01T00:00:00.000Z"):
            body = {"artifact_name": expires_at[:4], "expires_at": expires_at}
            posted = await running.ask("POST", f"/-/state/builds/{build}/artifacts", json=body)
            assert (posted.status, posted.json["expires_at"]) == (201, expires_at)
        assert len((await running.get(f"/-/state/builds/{build}/artifacts")).json) == 2
