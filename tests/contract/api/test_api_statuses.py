"""Statuses as receivers get them (docs/contract.md, "Statuses"), and the order of an app's builds."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from standardwebhooks import Webhook

from tests.support.described import assert_status_described
from tests.support.inprocess import Jenkins, Shuttle, running_jenkins, running_shuttle
from tests.support.receivers import Exchange, Receiver, Script, answering, silent

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "whsec_" + base64.b64encode(b"signs the statuses of these tests").decode()
FIRST = ["id", "type", "building", "status"]
ALWAYS = ["app_id", "build_id", "stage", "reason", "message", "at", "sequence", "system"]
FINALLY = ["log_sha256", "log_bytes", "image", "digest", "artifacts"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shuttle(tmp_path_factory: pytest.TempPathFactory, jenkins: Jenkins) -> AsyncIterator[Shuttle]:
    folder = tmp_path_factory.mktemp("statuses")
    async with running_shuttle(folder, jenkins.url, SHUTTLE_WEBHOOK_SECRET=SECRET) as running:
        yield running


async def delivered(receiver: Receiver, count: int) -> list[Exchange]:
    """Wait for the first `count` requests, completely received."""
    exchanges = [await receiver.exchange(number) for number in range(count)]
    await receiver.until(lambda: all(exchange.ended for exchange in exchanges))
    return exchanges


def bodies(exchanges: list[Exchange]) -> list[dict[str, Any]]:
    for exchange in exchanges:
        assert_status_described(bytes(exchange.body))
    return [json.loads(exchange.body) for exchange in exchanges]


async def test_statuses_are_queued_pending_and_a_final_one(shuttle: Shuttle, app: str):
    metadata = {"b": [1.50, None], "a": "é"}
    async with Receiver(answering(204)) as receiver:
        script = "mkdir dist; echo x > dist/f"
        hooks = {"status": receiver.url.replace("://", "://us%40er:p%C3%A9w@") + "/hook?x=1"}
        await shuttle.submit(f"/{app}/1", script, metadata=metadata, webhooks=hooks)
        exchanges = await delivered(receiver, 3)
        await shuttle.until(f"/{app}/1")
        newest = (await shuttle.get(f"/{app}/1/status")).body
    events = bodies(exchanges)
    assert [(body["status"], body["building"]) for body in events] == [
        ("queued", False),
        ("pending", True),
        ("succeeded", False),
    ]
    assert [body["sequence"] for body in events] == [1, 2, 3]
    assert [list(body) for body in events] == [FIRST + ALWAYS, FIRST + ALWAYS, FIRST + ALWAYS + FINALLY]
    for body, exchange in zip(events, exchanges, strict=True):
        assert (body["id"], body["type"], body["system"]) == (metadata, "build system", "jenkins")
        assert (body["app_id"], body["build_id"]) == (app, "1")
        assert body["at"].endswith("Z")
        assert abs((datetime.fromisoformat(body["at"]) - datetime.now(UTC)).total_seconds()) < 60
        assert (exchange.method, exchange.target) == ("POST", "/hook?x=1")
        assert exchange.headers["Content-Type"] == "application/json"
        assert base64.b64decode(exchange.headers["Authorization"].removeprefix("Basic ")) == "us@er:péw".encode()
        Webhook(SECRET).verify(bytes(exchange.body), dict(exchange.headers))
    assert len({exchange.headers["webhook-id"] for exchange in exchanges}) == 3
    assert bytes(exchanges[2].body) == newest
    assert [artifact["name"] for artifact in events[2]["artifacts"]] == ["f"]


async def test_build_that_never_ran_sends_no_pending(shuttle: Shuttle, app: str):
    async with Receiver(answering(200)) as receiver:
        body = {"source": {"url": "data:,nothing"}, "pipeline": "script", "webhooks": {"status": receiver.url + "/"}}
        await shuttle.post(f"/{app}/1", body)
        events = bodies(await delivered(receiver, 2))
    assert [(body["status"], body["sequence"], body["id"]) for body in events] == [
        ("queued", 1, None),
        ("failed", 2, None),
    ]


async def test_every_receiver_gets_the_same_events(shuttle: Shuttle, app: str):
    async with Receiver(answering(200)) as one, Receiver(answering(200)) as other:
        entry = {"url": f"{other.url}/o", "headers": {"X-Api-Key": "key-of-the-hook"}}
        await shuttle.submit(f"/{app}/1", webhooks={"status": [f"{one.url}/x", entry]})
        first, second = await delivered(one, 3), await delivered(other, 3)
    assert [exchange.body for exchange in first] == [exchange.body for exchange in second]
    assert [e.headers["webhook-id"] for e in first] == [e.headers["webhook-id"] for e in second]
    assert second[0].headers["X-Api-Key"] == "key-of-the-hook"
    assert "X-Api-Key" not in first[0].headers


@pytest.mark.parametrize("status", [500, 404, 302, 429])
async def test_failed_deliveries_are_retried_in_order(shuttle: Shuttle, app: str, status: int):
    failing: list[Script] = [answering(status, {"Location": "/elsewhere"})] * 2
    async with Receiver(*failing, answering(200)) as receiver:
        await shuttle.submit(f"/{app}/1", webhooks={"status": f"{receiver.url}/"})
        events = bodies(await delivered(receiver, 5))
        assert [exchange.target for exchange in receiver.exchanges] == ["/"] * 5
    assert [body["sequence"] for body in events] == [1, 1, 1, 2, 3]
    tried = {exchange.headers["webhook-id"] for exchange in receiver.exchanges[:3]}
    assert len(tried) == 1
    build = await shuttle.build(f"/{app}/1")
    assert build["receivers"][0]["last_error"] is None or str(status) in build["receivers"][0]["last_error"]


@pytest.mark.slow
async def test_retry_after_is_respected_while_the_build_continues(shuttle: Shuttle, app: str):
    """Later events make pending deliveries due now, except for a receiver that sent Retry-After."""
    async with Receiver(answering(429, {"Retry-After": "3600"}), answering(200)) as receiver:
        await shuttle.submit(f"/{app}/1", webhooks={"status": f"{receiver.url}/"})
        await shuttle.until(f"/{app}/1")
        waiting = (await shuttle.get(f"/-/deliveries?app_id={app}&state=pending")).json["deliveries"]
        assert len(receiver.exchanges) == 1
        assert [entry["sequence"] for entry in waiting] == [3, 2, 1]
        for entry in waiting:
            due_in = datetime.fromisoformat(entry["next_attempt_at"]) - datetime.now(UTC)
            assert due_in.total_seconds() > 3000
        for entry in reversed(waiting):  # an operator's replay may
            await shuttle.post(f"/-/deliveries/{entry['delivery_id']}/replay")
        assert [body["sequence"] for body in bodies(await delivered(receiver, 4))] == [1, 1, 2, 3]


async def test_final_status_gets_its_own_attempts(tmp_path: Path, jenkins: Jenkins, app: str):
    """The receiver is back when `queued` has just been given up; the final event had made its last attempt due."""
    schedule = {"SHUTTLE_WEBHOOK_SCHEDULE_SECONDS": "0,3600"}
    async with (
        Receiver(answering(500), answering(500), answering(200)) as receiver,
        running_shuttle(tmp_path, jenkins.url, **schedule) as shuttle,
    ):
        no_archive = {"url": "data:application/gzip;base64,AAAA"}
        await shuttle.submit(f"/{app}/1", source=no_archive, webhooks={"status": f"{receiver.url}/"})
        events = bodies(await delivered(receiver, 3))
        assert [(body["status"], body["sequence"]) for body in events] == [("queued", 1), ("queued", 1), ("failed", 2)]
        listed = (await shuttle.get(f"/-/deliveries?app_id={app}&state=gave_up")).json["deliveries"]
        assert [entry["sequence"] for entry in listed] == [1]


async def test_410_ends_a_receiver_until_a_replay(shuttle: Shuttle, app: str):
    async with Receiver(answering(410), answering(200)) as receiver:
        await shuttle.submit(f"/{app}/1", webhooks={"status": f"{receiver.url}/"})
        await shuttle.until(f"/{app}/1")
        given_up = (await shuttle.get(f"/-/deliveries?app_id={app}&state=gave_up")).json["deliveries"]
        assert (await shuttle.build(f"/{app}/1"))["receivers"][0]["state"] == "gave_up"
        assert len(receiver.exchanges) == 1
        assert [entry["status"] for entry in given_up] == ["queued"]
        again = await shuttle.post(f"/-/deliveries/{given_up[0]['delivery_id']}/replay")
        assert (again.status, again.json) == (200, {"status": "OK", "replayed": 1})
        first, second = await delivered(receiver, 2)
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert first.body == second.body


@pytest.mark.slow
async def test_builds_get_slots_in_a_fair_order(tmp_path: Path):
    """One slot: builds of an app in the order of acceptance, and the app served longest ago first."""
    ran = tmp_path / "ran"
    async with (
        running_jenkins(tmp_path) as jenkins,
        running_shuttle(tmp_path, jenkins.url, MAXIMUM_PARALLEL_BUILDS="1") as shuttle,
    ):
        await jenkins.stop()
        await shuttle.submit("/greedy/1", f"echo greedy 1 >> {ran}")
        await shuttle.until_shown("/greedy/1", lambda build: build["waiting_for"])
        for app_id, number in (("greedy", 2), ("greedy", 3), ("modest", 1)):
            await shuttle.submit(f"/{app_id}/{number}", f"echo {app_id} {number} >> {ran}")
        waiting = await shuttle.until_shown("/greedy/2", lambda build: build["waiting_for"])
        assert waiting["waiting_for"] == "build 1 of this app to end"
        waiting = await shuttle.until_shown("/modest/1", lambda build: build["waiting_for"])
        assert waiting["waiting_for"] == "one of 1 build slots"
        assert (await shuttle.get("/modest/1/logs")).body.endswith(b"-----> Waiting for one of 1 build slots.\n")
        await jenkins.start()
        builds = [await shuttle.until(f"/{path}") for path in ("greedy/1", "modest/1", "greedy/2", "greedy/3")]
    assert ran.read_text().splitlines() == ["greedy 1", "modest 1", "greedy 2", "greedy 3"]
    for earlier, later in pairwise(builds):
        assert earlier["timestamps"]["finished_at"] <= later["timestamps"]["queued_at"]


@pytest.mark.slow
async def test_apps_build_in_parallel_up_to_the_limit(tmp_path: Path):
    """Each script waits for its partner, so builds only end if two run at once; a third one never runs with them."""
    script = f"""cd {tmp_path}; touch $SHUTTLE_APP_ID.runs
while [ "$(ls *.runs | wc -l)" -lt 2 ] && [ ! -e met ]; do sleep 0.02; done
touch met; [ "$(ls *.runs | wc -l)" -le 2 ] || touch crowd; rm $SHUTTLE_APP_ID.runs"""
    async with (
        running_jenkins(tmp_path) as jenkins,
        running_shuttle(tmp_path, jenkins.url, MAXIMUM_PARALLEL_BUILDS="2") as shuttle,
    ):
        paths = [f"/app-{number}/1" for number in range(4)]
        await asyncio.gather(*[shuttle.submit(path, script) for path in paths])
        builds = [await shuttle.until(path) for path in paths]
    assert [build["state"] for build in builds] == ["succeeded"] * 4
    assert not (tmp_path / "crowd").exists()


@pytest.mark.slow
async def test_hanging_sources_do_not_block_other_apps(shuttle: Shuttle, app: str):
    async def hang(exchange: Exchange) -> None:
        await exchange.until(lambda: exchange.hung_up)

    async with Receiver(hang) as host:
        for number in range(12):
            body = {"source": {"url": f"{host.url}/a"}, "pipeline": "script"}
            await shuttle.post(f"/{app}-hanging-{number}/1", body)
        await host.exchange(11)
        await shuttle.submit(f"/{app}/1")
        assert (await shuttle.until(f"/{app}/1", seconds=5))["state"] == "succeeded"
        for number in range(12):
            assert (await shuttle.delete(f"/{app}-hanging-{number}/1")).status == 200


async def test_replay_without_given_up_deliveries_replays_none(shuttle: Shuttle, app: str):
    for of in (f"app_id={app}", f"app_id={app}&build_id=1"):
        unknown = await shuttle.post(f"/-/deliveries/replay?{of}")
        assert (unknown.status, unknown.json["code"]) == (404, "not_found")
    await shuttle.submit(f"/{app}/1")
    assert (await shuttle.post(f"/-/deliveries/replay?app_id={app}&build_id=2")).status == 404
    assert (await shuttle.post(f"/-/deliveries/replay?app_id={app}&build_id=1")).json["replayed"] == 0
    assert (await shuttle.post(f"/-/deliveries/replay?app_id={app}")).json["replayed"] == 0
    assert (await shuttle.post("/-/deliveries/999999/replay")).status == 404
    assert (await shuttle.post("/-/deliveries/x/replay")).status == 404
    assert (await shuttle.post("/-/deliveries/replay")).json["field"] == "app_id"
    assert (await shuttle.get("/-/deliveries?state=nonsense")).json["field"] == "state"


async def test_status_under_way_ends_with_the_loss_of_its_app(tmp_path: Path, app: str):
    """The owner sends it again; without other replicas that is this process."""
    async with running_shuttle(tmp_path) as alone, Receiver(silent, answering(204)) as receiver:
        await alone.submit(f"/{app}/1", webhooks={"status": receiver.url})
        await receiver.exchange(0)
        alone.services.owned.drop(app)
        async with asyncio.timeout(5):  # the silent one would be given up after 15 s
            first, again = await delivered(receiver, 2)
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
