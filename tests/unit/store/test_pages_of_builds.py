"""Pages of builds: the newest first, and their cost does not grow with the number of builds that have ended."""

from datetime import UTC, datetime

import pytest

from shuttle.build import State
from shuttle.store.builds import page_of_builds
from shuttle.store.record_lists import STATES as RECORD_STATES
from shuttle.store.record_lists import BuildFilter, count_records, page_of_records
from shuttle.store.tables import apps, builds
from tests.support.shuttle_store import build_row, open_database

AT = datetime(2026, 1, 1, tzinfo=UTC)
STATES = ("failed", "succeeded", "running", "failed", "recorded", "stopped")


@pytest.fixture
async def database(tmp_path):
    async with open_database(tmp_path) as opened:
        yield opened


async def fill(database, states, api="new"):
    """Insert builds of two apps alternately; build N has the state `states[N]`."""
    rows = []
    for number, state in enumerate(states):
        ended_at = AT if State(state).final else None
        labels = {"platform": "gcp" if number % 3 else "aws"}
        row = build_row(f"app{number % 2}", number, AT, state=state, finished_at=ended_at, api=api, labels=labels)
        rows.append(row)

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
    assert await steps_of(database, page_of_builds, limit=10, **wanted) < 4000


async def steps_of(database, query, *args, **wanted):
    """How many instructions SQLite needs for the query."""
    steps = []

    def counted(tx):
        raw = tx.connection.connection.driver_connection
        raw.set_progress_handler(lambda: steps.append(100), 100)  # called after every 100 instructions of SQLite
        query(tx, *args, **wanted)
        raw.set_progress_handler(None, 0)

    await database.run(counted)
    return sum(steps)


@pytest.mark.parametrize("status", [None, "completed", "failed", "running", "pending"])
@pytest.mark.parametrize("app_id", [None, "app1"])
async def test_list_of_records_has_the_same_builds_as_the_page(database, app_id, status):
    await fill(database, STATES * 2)
    found = await database.run(page_of_records, BuildFilter(app_id, status), skip=1, limit=3)
    shown = await database.run(page_of_builds, app_id=app_id)
    wanted = [build.build_id for build in shown if status is None or build.state in RECORD_STATES[status]]
    assert [build.build_id for build in found] == wanted[1:4]


async def test_list_of_a_platform_has_its_builds_only(database):
    await fill(database, STATES * 2)

    async def listed(**wanted):
        which = BuildFilter(**wanted)
        return [build.build_id for build in await database.run(page_of_records, which, skip=0, limit=3)]

    assert await listed(platform="aws") == ["9", "6", "3"]
    assert await listed(platform="gcp") == ["11", "10", "8"]
    assert await listed(platform="aws", status="running") == []
    assert await listed(platform="gcp", status="failed") == ["11", "5"]
    assert await listed(platform="gcp", status="running", app_id="app0") == ["8", "2"]
    assert await listed(platform="azure") == []


@pytest.mark.parametrize(
    "which",
    [
        BuildFilter(),
        BuildFilter(platform="gcp"),
        BuildFilter(platform="azure"),
        BuildFilter(status="failed"),
        BuildFilter("app1"),
        BuildFilter("app0", "completed"),
        BuildFilter("app1", "running"),
    ],
)
@pytest.mark.parametrize("api", ["new", "record"])
async def test_list_of_records_does_not_read_all_builds(database, api, which):
    """A list of the failed builds, and one of a project's, read every build of the table."""
    state = "succeeded" if api == "new" else "running"
    await fill(database, [state] * 4000, api=api)
    assert await steps_of(database, page_of_records, which, skip=5, limit=10) < 4000


async def test_counts_read_the_builds_once(database):
    """They were read three times, and their labels were parsed: 100,000 builds kept SQLite busy for 0.5 s."""
    await fill(database, ["succeeded"] * 4000)
    assert await steps_of(database, count_records) < 30 * 4000
