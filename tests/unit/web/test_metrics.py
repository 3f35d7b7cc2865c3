"""`GET /metrics`: what operators watch, also while the database does not answer."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from shuttle.build import Build, State
from shuttle.errors import StoreError
from shuttle.metrics import count_end
from tests.support.inprocess import Shuttle, running_shuttle, script_request

_REFUSED = "http://127.0.0.1:9/"
_WAITING = ("shuttle_builds_waiting", "shuttle_builds_waiting_oldest_seconds")
_OUTBOX = ("shuttle_outbox_deliveries", "shuttle_outbox_oldest_seconds")


async def test_waiting_builds_and_undelivered_statuses_are_counted(tmp_path: Path):
    async with running_shuttle(tmp_path) as shuttle:
        for number in (1, 2, 3):
            await shuttle.submit(f"/one/{number}", webhooks={"status": _REFUSED})
        await shuttle.until_shown("/one/3", lambda build: build["waiting_for"] == "build 1 of this app to end")
        shown = await _scraped(shuttle)
    assert (shown[_WAITING[0]], shown[_OUTBOX[0]]) == (2, 3)
    assert 0 < shown[_WAITING[1]] < 60
    assert 0 < shown[_OUTBOX[1]] < 60


async def test_log_bytes_that_a_sink_lacks_are_counted(tmp_path: Path):
    async with running_shuttle(tmp_path) as shuttle:
        refused = script_request(webhooks={"logs": [_REFUSED, _REFUSED]}) | {"source": {"url": "data:,no-archive"}}
        assert (await shuttle.post("/one/1", refused)).status == 200
        build = await shuttle.until_shown("/one/1", _has_failing_sinks)
        shown = await _scraped(shuttle)
    assert build["log"]["bytes"] > 0
    assert shown["shuttle_sinks_open", "failing"] == 2
    assert shown["shuttle_sink_lag_bytes", "failing"] == 2 * build["log"]["bytes"]


@pytest.mark.parametrize("hangs", [False, True])
async def test_metrics_are_served_while_the_database_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: bool
):
    async with running_shuttle(tmp_path) as shuttle:
        if hangs:
            monkeypatch.setattr("shuttle.web.health._BACKLOG_SECONDS", 0)
        else:
            monkeypatch.setattr(shuttle.services.database, "run", _out_of_reach)
        shown = await _scraped(shuttle)
    assert all(math.isnan(shown[name]) for name in (*_WAITING, *_OUTBOX))
    assert shown["shuttle_builds_under_way"] == 0


@pytest.mark.parametrize(("queue", "seconds"), [("slot", 20.0), ("jenkins", 5.0)])
def test_how_long_a_build_waited_is_counted_when_it_ends(queue: str, seconds: float):
    begun = datetime(2030, 1, 1, tzinfo=UTC)
    before = _waited(queue)
    count_end(
        Build(
            build_uuid="u",
            app_id="one",
            build_id="1",
            state=State.SUCCEEDED,
            accepted_at=begun,
            deadline_at=begun,
            slot_at=begun + timedelta(seconds=20),
            queued_at=begun + timedelta(seconds=21),
            running_at=begun + timedelta(seconds=26),
        )
    )
    assert _waited(queue) - before == pytest.approx(seconds)


def _waited(queue: str) -> float:
    return REGISTRY.get_sample_value("shuttle_queue_wait_seconds_sum", {"queue": queue}) or 0.0


def _has_failing_sinks(build: dict[str, Any]) -> bool:
    return build["log"]["complete"] and all(sink["state"] == "failing" for sink in build["sinks"])


async def _out_of_reach(*_: object, **__: object) -> None:
    raise StoreError("The database cannot be used now (disk full).")


async def _scraped(shuttle: Shuttle) -> dict[Any, float]:
    """The values by name, or by name and state."""
    answer = await shuttle.get("/metrics")
    assert answer.status == 200
    samples = [sample for family in text_string_to_metric_families(answer.body.decode()) for sample in family.samples]
    return {(one.name, one.labels["state"]) if "state" in one.labels else one.name: one.value for one in samples}
