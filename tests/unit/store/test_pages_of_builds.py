"""Pages of builds: the newest first, and their cost does not grow with the number of builds that have ended."""

from datetime import UTC, datetime

import pytest

from shuttle.build import State
from shuttle.store.builds import page_of_builds
from shuttle.store.tables import apps, builds
from tests.support.shuttle_store import build_row, open_database

AT = datetime(2026, 1, 1, tzinfo=UTC)
STATES = ("failed", "succeeded", "running", "failed", "recorded", "stopped")


@pytest.fixture
async def database(tmp_path):
    async with open_database(tmp_path) as opened:
        yield opened


async def fill(database, states):
    """Builds of two apps, alternately; build N has the state `states[N]`."""
    rows = []
    for number, state in enumerate(states):
        ended_at = AT if State(state).final else None
        rows.append(build_row(f"app{number % 2}", number, AT, state=state, finished_at=ended_at))

    def insert(tx):
        created = [{"app_id": f"app{n}", "job_name": f"job{n}", "created_at": AT} for n in range(2)]
        tx.execute(apps.insert(), created)
        tx.execute(builds.insert(), rows)

    await database.run(insert)


async def page(database, **wanted):
    return [build.build_id for build in await database.run(page_of_builds, **wanted)]


async def test_page_has_the_newest_builds_of_all_states_in_order(database):
    await fill(database, STATES * 2)
    assert await page(database) == [str(number) for number in reversed(range(12))]
    assert await page(database, app_id="app0") == ["10", "8", "6", "4", "2", "0"]
    assert await page(database, app_id="app0", limit=2) == ["10", "8"]
    assert await page(database, app_id="app0", before=9, limit=2) == ["6", "4"]
    assert await page(database, app_id="app1", state=State.FAILED) == ["9", "3"]
    assert await page(database, state=State.FAILED, limit=3) == ["9", "6", "3"]
    assert await page(database, state=State.RECORDED, before=12) == ["10", "4"]
    assert await page(database, app_id="app0", state=State.RUNNING, limit=1) == ["8"]
    assert await page(database, app_id="app1", state=State.RUNNING) == []
    assert await page(database, state=State.TIMEDOUT) == []
    assert await page(database, app_id="none") == []


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"app_id": "app0"},
        {"app_id": "app0", "before": 2000},
        *({"state": State(state)} for state in ("failed", "timedout", "running")),
        *({"app_id": "app1", "state": State(state)} for state in ("failed", "timedout", "running")),
    ],
)
async def test_page_does_not_read_all_builds(database, wanted):
    """A page of an app with 50,000 builds took 0.3 s, during which no request for a build was recorded."""
    await fill(database, ["failed", "failed", "succeeded", "succeeded"] * 1000)
    steps = []

    def counted(tx):
        raw = tx.connection.connection.driver_connection
        raw.set_progress_handler(lambda: steps.append(100), 100)  # called after every 100 instructions of SQLite
        found = page_of_builds(tx, limit=10, **wanted)
        raw.set_progress_handler(None, 0)
        return found

    await database.run(counted)
    assert sum(steps) < 4000
