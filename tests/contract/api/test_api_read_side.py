"""Reading builds, apps and sources (docs/contract.md, "Reading builds")."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from shuttle.errors import ObjectStoreError
from shuttle.web import READINESS, readiness
from tests.support.inprocess import Shuttle, running_shuttle
from tests.support.receivers import Receiver, answering

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG_FORM = {
    *(
        "app_id",
        "build_id",
        "build_uuid",
        "api",
        "pipeline",
        "state",
        "stage",
        "building",
        "status",
        "reason",
        "message",
    ),
    *("waiting_for", "metadata", "human_readable_info", "labels", "source", "destinations", "arguments", "jenkins"),
    *("timestamps", "log", "artifacts", "image", "digest", "receivers", "sinks"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def many(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    """Seven builds of two apps, all waiting, the last one stopped."""
    async with running_shuttle(tmp_path_factory.mktemp("many")) as shuttle:
        for number in range(5):
            await shuttle.submit(f"/one/{number}")
        for number in range(2):
            await shuttle.submit(f"/two/{number}")
        await shuttle.delete("/two/1")
        yield shuttle


def ids(page: dict[str, Any]) -> list[str]:
    return [f"{build['app_id']}/{build['build_id']}" for build in page["builds"]]


async def test_finished_build_is_shown_with_all_fields(shuttle: Shuttle, app: str):
    async with Receiver(answering(200)) as receiver:
        fields: dict[str, Any] = {
            "metadata": {"k": [1]},
            "human_readable_info": "for people",
            "labels": {"team": "a"},
            "arguments": {"A": 1, "S": "secret-value", "T": True},
            "secret_arguments": ["S"],
            "timeout_seconds": 60,
            "webhooks": {"status": f"{receiver.url}/s", "logs": f"{receiver.url}/l"},
        }
        await shuttle.submit(f"/{app}/1", "mkdir -p dist/sub; echo x > dist/sub/f", **fields)
        await shuttle.until(f"/{app}/1")
        build = await shuttle.until_shown(
            f"/{app}/1", lambda shown: shown["sinks"][0]["state"] == shown["receivers"][0]["state"] == "done"
        )
    assert set(build) >= LONG_FORM
    assert (build["app_id"], build["build_id"], build["api"], build["pipeline"]) == (app, "1", "new", "script")
    assert (build["metadata"], build["human_readable_info"], build["labels"]) == (
        {"k": [1]},
        "for people",
        {"team": "a"},
    )
    assert build["arguments"] == {"A": "1", "S": None, "T": "true"}
    assert set(build["source"]) == {"url", "sha256", "bytes", "commit", "branch"}
    assert set(build["jenkins"]) == {"controller", "job", "queue_item", "build_number", "url"}
    assert "@" not in build["jenkins"]["url"] + build["jenkins"]["controller"]
    assert [artifact["name"] for artifact in build["artifacts"]] == ["sub/f"]
    instants = [datetime.fromisoformat(text) for text in build["timestamps"].values()]
    assert instants == sorted(instants)
    assert all(instant.utcoffset() == timedelta(0) for instant in instants)
    [sink], [hook] = build["sinks"], build["receivers"]
    host = receiver.url.removeprefix("http://")
    assert (sink["kind"], sink["host"], sink["acked_offset"], sink["lag_bytes"]) == (
        "http",
        host,
        build["log"]["bytes"],
        0,
    )
    assert (hook["kind"], hook["host"], hook["attempts"], hook["last_error"]) == ("http", host, 3, None)


async def test_newest_status_is_returned(many: Shuttle):
    status = (await many.get("/one/0/status")).json
    assert (status["status"], status["building"], status["sequence"], status["id"]) == ("queued", False, 1, None)
    assert (await many.get("/two/1/status")).json["status"] == "failed"


async def test_builds_of_an_app_are_listed_newest_first(many: Shuttle):
    page = (await many.get("/one")).json
    assert ids(page) == ["one/4", "one/3", "one/2", "one/1", "one/0"]
    assert page["next"] is None
    assert set(page["builds"][0]) < LONG_FORM


@pytest.mark.parametrize("path", ["/one", "/-/builds"])
@pytest.mark.parametrize("limit", [1, 2, 3, 200])
async def test_pages_together_are_the_whole_list(many: Shuttle, path: str, limit: int):
    whole = ids((await many.get(f"{path}?limit=200")).json)
    assert len(whole) == (5 if path == "/one" else 7)
    found: list[str] = []
    before = ""
    while True:
        page = (await many.get(f"{path}?limit={limit}{before}")).json
        assert len(page["builds"]) <= limit
        found += ids(page)
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    assert found == whole


async def test_builds_are_listed_by_state(many: Shuttle):
    assert ids((await many.get("/-/builds?state=stopped")).json) == ["two/1"]
    assert ids((await many.get("/two?state=stopped")).json) == ["two/1"]
    assert ids((await many.get("/one?state=succeeded")).json) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        *[(f"limit={text}", "limit") for text in ("0", "201", "x", "-1", "9" * 30)],
        *[(f"before={text}", "before") for text in ("x", "9" * 30)],
        *[(f"state={text}", "state") for text in ("nonsense", "")],
    ],
)
@pytest.mark.parametrize("path", ["/one", "/-/builds"])
async def test_invalid_list_parameters_get_400(many: Shuttle, path: str, query: str, field: str):
    answer = await many.get(f"{path}?{query}")
    assert (answer.status, answer.json["field"]) == (400, field)


async def test_unknown_resources_get_404(many: Shuttle):
    for path in ("/nobody", "/0a7f4f0e-0000-4000-8000-000000000000"):
        answer = await many.get(path)
        assert (answer.status, answer.json) == (404, {"status": "Not Found"})
        assert (await many.ask("HEAD", path)).status == 404
    for path in ("/one/9", "/nobody/1", "/one/9/status", "/one/9/logs", "/one/9/artifacts", "/one/0/artifacts/x"):
        answer = await many.get(path)
        assert (answer.status, answer.json["code"]) == (404, "not_found")


async def test_source_is_returned_by_its_build_uuid(many: Shuttle):
    build_uuid = (await many.build("/one/0"))["build_uuid"]
    whole = await many.get(f"/{build_uuid}")
    assert (whole.status, whole.headers["Content-Type"]) == (200, "application/gzip")
    assert whole.headers["Content-Length"] == str(len(whole.body))
    assert whole.headers["X-Content-Type-Options"] == "nosniff"
    head = await many.ask("HEAD", f"/{build_uuid.upper()}")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.body))
    assert head.headers["Content-Type"] == "application/gzip"


async def test_uuid_that_is_only_an_app_id_lists_the_app(many: Shuttle):
    name = "0a7f4f0e-1111-4000-8000-000000000000"
    await many.submit(f"/{name}/1")
    assert ids((await many.get(f"/{name}")).json) == [f"{name}/1"]


async def test_probes_report_the_state_of_the_service(idle: Shuttle, monkeypatch: pytest.MonkeyPatch):
    assert (await idle.get("/healthz")).json == {"status": "OK"}
    assert (await idle.ask("HEAD", "/healthz")).status == 200
    metrics = await idle.get("/metrics")
    assert (metrics.status, metrics.headers["Content-Type"].split(";")[0]) == (200, "text/plain")
    assert b"# HELP" in metrics.body

    async def broken() -> None:
        raise ObjectStoreError("The object store is full.")

    monkeypatch.setattr(readiness, "_CACHE_SECONDS", 0)
    monkeypatch.setattr(idle.services.objects, "check", broken)
    ready = await idle.get("/readyz")
    assert (ready.status, ready.json["status"]) == (200, "degraded")
    assert set(ready.json["checks"]) == {"replica", "database", "object_store", "clock", "jenkins"}
    assert ready.json["checks"]["object_store"] == "The object store is full."
    assert ready.json["checks"]["database"] == ready.json["checks"]["clock"] == "ok"


async def test_a_clock_that_differs_from_the_database_is_named(idle: Shuttle, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(readiness, "_CACHE_SECONDS", 0)
    monkeypatch.setattr(readiness, "clock_difference_seconds", lambda _: -31.2)
    ready = await idle.get("/readyz")
    assert (ready.status, ready.json["status"]) == (200, "degraded")
    assert ready.json["checks"]["clock"] == "Its clock and that of PostgreSQL differ by 31 s; synchronize both."


async def test_probes_respond_in_time_while_jenkins_hangs(idle: Shuttle, monkeypatch: pytest.MonkeyPatch):
    async def hang() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(idle.services.controllers.of("default"), "check", hang)
    monkeypatch.setattr(readiness, "_CACHE_SECONDS", 0)
    monkeypatch.setattr(readiness, "CHECK_TIMEOUT_SECONDS", 0.05)
    ready = await idle.get("/readyz")
    assert (ready.status, ready.json["checks"]["jenkins"]) == (200, "It did not answer within 0.05 seconds.")
    assert (await idle.get("/octhc")).body == b"overall_status=bad"


async def test_readyz_of_a_replica_that_is_being_stopped_does_not_wait_for_a_store_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Before, a balancer knew of it after up to 10 s, when the replica did not answer any more."""
    checking = asyncio.Event()

    async def hang() -> None:
        checking.set()
        await asyncio.Event().wait()

    async with running_shuttle(tmp_path) as shuttle, asyncio.timeout(readiness.CHECK_TIMEOUT_SECONDS - 1):
        monkeypatch.setattr(shuttle.services.objects, "check", hang)
        begun_before = asyncio.create_task(shuttle.get("/readyz"))
        await checking.wait()
        shuttle.site[READINESS].drain()
        for ready in (await begun_before, await shuttle.get("/readyz")):
            assert (ready.status, ready.json["status"]) == (503, "not ready")
            assert ready.json["checks"]["replica"] == "This replica is being stopped."


async def test_metrics_name_no_build(many: Shuttle):
    metrics = (await many.get("/metrics")).body.decode()
    build_uuid = (await many.build("/one/0"))["build_uuid"]
    assert build_uuid not in metrics
    assert "/one/" not in metrics


@pytest.mark.slow
async def test_thousand_probes_cause_one_request_to_jenkins_per_second(idle: Shuttle, monkeypatch: pytest.MonkeyPatch):
    requests = 0

    async def count() -> None:
        nonlocal requests
        requests += 1
        await asyncio.sleep(0)

    monkeypatch.setattr(idle.services.controllers.of("default"), "check", count)
    while not requests:  # the result of the last request is valid for a second
        await idle.get("/readyz")
    began = time.monotonic()
    for _ in range(10):
        await asyncio.gather(*(idle.get(path) for path in ("/readyz", "/octhc") for _ in range(50)))
    assert requests <= 2 + time.monotonic() - began


async def test_probes_give_details_to_token_holders_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(readiness, "_CACHE_SECONDS", 0)
    async with running_shuttle(tmp_path, SHUTTLE_TOKENS="reader:a-token-to-read-with") as shuttle:
        anonymous = await shuttle.get("/readyz")
        assert (anonymous.status, anonymous.json["checks"]) == (
            200,
            {"replica": "ok", "database": "ok", "object_store": "ok", "clock": "ok", "jenkins": "not ready"},
        )
        known = await shuttle.get("/readyz", headers={"Authorization": "Bearer a-token-to-read-with"})
        assert "cannot connect" in known.json["checks"]["jenkins"]


@pytest.mark.parametrize(
    ("method", "path", "field"),
    [
        ("GET", "/-/deliveries?app_id=a%00", "app_id"),
        ("GET", "/-/deliveries?app_id=a&build_id=%00", "build_id"),
        ("POST", "/-/deliveries/replay?app_id=%00", "app_id"),
        ("POST", "/-/deliveries/replay?app_id=a&build_id=%00", "build_id"),
        ("GET", "/-/apps/idle?pipeline=script&idle_seconds=1&after=%00", "after"),
    ],
)
async def test_nul_in_the_query_is_refused(idle: Shuttle, method: str, path: str, field: str):
    """PostgreSQL takes no text with a NUL character: there the answer was 500 before."""
    refused = await idle.ask(method, path)
    assert (refused.status, refused.json["code"], refused.json["field"]) == (400, "invalid_request", field)


@pytest.mark.slow
async def test_list_of_deliveries_has_the_newest_200(idle: Shuttle, app: str):
    hooks = [f"http://127.0.0.1:9/{number}" for number in range(100)]
    for build in ("1", "2", "3"):
        await idle.submit(f"/{app}/{build}", webhooks={"status": hooks})
    listed = (await idle.get(f"/-/deliveries?app_id={app}")).json["deliveries"]
    assert [entry["build_id"] for entry in listed] == ["3"] * 100 + ["2"] * 100
