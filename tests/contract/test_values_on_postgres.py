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
