"""The cost of lists, replays and the service's own queries does not grow with what was delivered or ended long ago."""

from datetime import UTC, datetime, timedelta
from shutil import copy

import pytest

from shuttle.delivery import DeliveryState
from shuttle.standing import Standing
from shuttle.store.apps import app_is_finished, assign_controller, keep_controller, mark_app_deleted
from shuttle.store.builds import find_build
from shuttle.store.idle_apps import idle_apps
from shuttle.store.ledger import find_deliveries, replay_batch
from shuttle.store.open_work import open_work
from shuttle.store.outbox import due_deliveries, next_due_at
from shuttle.store.retain import Expiring, expired_builds
from shuttle.store.sealed import sealed_samples
from shuttle.store.tables import apps, builds, deliveries, events, receivers, sinks
from tests.support.shuttle_store import build_row, open_database

AT = datetime(2026, 1, 1, tzinfo=UTC)
LATER = AT + timedelta(days=1)
BUILDS = 4000


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """The directory of a database that is filled once."""
    return tmp_path_factory.mktemp("filled")


@pytest.fixture
async def delivered(tmp_path, filled):
    """A copy of a database whose deliveries are all delivered."""
    if not (filled / "shuttle.db").exists():
        async with open_database(filled) as database:
            await fill(database, "delivered")
    copy(filled / "shuttle.db", tmp_path)
    async with open_database(tmp_path) as opened:
        yield opened


def _endpoint(number, **ended):
    return {
        "build_uuid": f"u{number}",
        "place": 0,
        "kind": "http",
        "host": "h",
        "target": b"{}",
        "state": "done",
    } | ended


async def fill(database, state, next_attempt_at=None):
    """Ended builds of one app, whose sources and logs are deleted, each with a delivery in this state."""
    at_once = {"source_deleted_at": AT, "log_deleted_at": AT}
    numbers = range(1, BUILDS + 1)

    def insert(tx):
        common = {"controller": "default", "created_at": AT}
        tx.execute(apps.insert(), [common | {"app_id": name, "job_name": name} for name in ("big", "small")])
        tx.execute(builds.insert(), [build_row("big", number, AT, **at_once) for number in numbers])
        tx.execute(receivers.insert(), [_endpoint(number) | {"receiver_id": number} for number in numbers])
        tx.execute(sinks.insert(), [_endpoint(number, ended_at=AT) for number in numbers])
        common = {"sequence": 1, "webhook_id": "w", "status": "queued", "body": b"", "created_at": AT}
        tx.execute(events.insert(), [common | {"event_id": n, "build_uuid": f"u{n}"} for n in numbers])
        common = {"app_id": "big", "state": state, "next_attempt_at": next_attempt_at}
        tx.execute(deliveries.insert(), [common | {"receiver_id": n, "event_id": n} for n in numbers])

    await database.run(insert)


async def steps_of(database, query, **arguments):
    """How many instructions SQLite executes, in hundreds rounded down."""
    steps = []

    def counted(tx):
        raw = tx.connection.connection.driver_connection
        raw.set_progress_handler(lambda: steps.append(100), 100)
        query(tx, **arguments)
        raw.set_progress_handler(None, 0)

    await database.run(counted)
    return sum(steps)


STATES = [None, *DeliveryState]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    "ids",
    [
        *({"app_id": app_id, "build_id": None} for app_id in (None, "big", "small")),
        *({"app_id": app_id, "build_id": "7"} for app_id in (None, "big")),
        {"app_id": None, "build_id": "none"},
    ],
    ids=str,
)
async def test_list_of_deliveries_does_not_read_all_deliveries(delivered, ids, state):
    """A list of an app with 300,000 deliveries took 0.5 s, during which no request for a build was recorded."""
    assert await steps_of(delivered, find_deliveries, **ids, state=state, limit=10) < 2000


async def test_replay_reads_given_up_deliveries_only(delivered):
    assert await steps_of(delivered, replay_batch, unseal=bytes, app_id="big", build_id=None, after=0, limit=10) < 2000
    assert await steps_of(delivered, replay_batch, unseal=bytes, app_id="big", build_id="7", after=0, limit=10) < 2000


async def test_app_moves_to_another_controller_in_transactions_of_bounded_size(delivered):
    """With 50,000 builds, one statement for all took longer than a transaction may, and the app never moved."""

    def trigger(tx):
        tx.execute(builds.update().values(trigger_attempted_at=AT))

    await delivered.run(trigger)
    build = await delivered.run(find_build, "u1")
    assert await steps_of(delivered, keep_controller, build=build, first="2", limit=10) < 5000
    assert await steps_of(delivered, assign_controller, build=build, controller="other") < 2000


async def test_deliveries_that_wait_for_a_later_attempt_are_not_read_for_those_that_are_due(tmp_path):
    """With 300,000 pending deliveries, each look for due ones took 0.7 s."""
    due = {"now": AT, "limit": 10, "unseal": bytes}
    async with open_database(tmp_path) as database:
        await fill(database, "pending", LATER)
        for query, arguments in ((due_deliveries, due), (next_due_at, {})):
            assert await steps_of(database, query, busy=frozenset(), full_hosts=frozenset(), **arguments) < 2000


@pytest.mark.parametrize("what", [Expiring.SOURCE, Expiring.LOG])
async def test_sweep_does_not_read_builds_whose_objects_were_deleted_long_ago(delivered, what):
    assert await steps_of(delivered, expired_builds, what=what, before=LATER, limit=10) < 2000


async def test_sweep_reads_only_what_belongs_to_the_records_that_it_finds(delivered):
    assert await steps_of(delivered, expired_builds, what=Expiring.RECORD, before=LATER, limit=10) < 2000


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        (open_work, {}),
        (sealed_samples, {}),
        (app_is_finished, {"app_id": "big"}),
        (mark_app_deleted, {"app_id": "big", "standing": Standing.CONTROLLER}),
        (idle_apps, {"pipeline": "script", "before": LATER, "limit": 10}),
    ],
)
async def test_start_and_deletions_do_not_read_ended_builds(delivered, query, arguments):
    assert await steps_of(delivered, query, **arguments) < 2000
