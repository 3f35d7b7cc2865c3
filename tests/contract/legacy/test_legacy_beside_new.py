"""Both APIs used for one app: two builds with the same ids run one after another."""

import asyncio
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.contract.legacy.caller import OK, LegacyApp
from tests.support.inprocess import script_request
from tests.support.receivers import Receiver

pytestmark = pytest.mark.asyncio(loop_scope="module")


def bodies(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(exchange.body) for exchange in receiver.exchanges if exchange.ended]


def waiting_for(gate: Path) -> str:
    return f"while [ ! -e {gate} ]; do sleep 0.1; done"


@pytest.mark.slow
async def test_builds_of_both_apis_with_the_same_ids_keep_their_own_formats(app: LegacyApp, tmp_path: Path):
    first_gate, second_gate = tmp_path / "first", tmp_path / "second"
    async with Receiver() as webhook, Receiver() as callback:
        new = script_request(
            f"echo the new one; {waiting_for(first_gate)}",
            webhooks={"status": f"{webhook.url}/"},
            metadata={"order": 1},
        )
        answer = await app.shuttle.post(app.path(5), new)
        assert (answer.status, answer.json) == (200, {"status": "OK"})
        await app.until(5, "running")
        assert (await app.status(5)).json["type"] == "build system"

        legacy = app.request(5, f"echo the legacy one\n{waiting_for(second_gate)}", callback=f"{callback.url}/")
        answer = await app.post(legacy)
        assert (answer.status, answer.body) == (200, OK)
        pending = {"id": 5, "building": True, "status": "pending", "type": "jenkins"}
        assert (await app.status(5)).json == pending
        replayed = await app.shuttle.post(app.path(5), new)
        assert replayed.status in {200, 409}

        first_gate.touch()
        await app.until_recorded(legacy["build_uuid"], lambda build: build.state == "running")
        assert (await app.status(5)).json == pending
        second_gate.touch()
        await app.until_recorded(legacy["build_uuid"])
        async with asyncio.timeout(20):
            await webhook.until(lambda: [body["status"] for body in bodies(webhook)][-1:] == ["succeeded"])
            await callback.until(lambda: [body["status"] for body in bodies(callback)][-1:] == ["succeeded"])
    assert (await app.status(5)).json == pending | {"building": False, "status": "succeeded"}
    assert b"the legacy one" in (await app.logs(5)).body
    assert b"the new one" not in (await app.logs(5)).body
    assert [body["status"] for body in bodies(webhook)] == ["queued", "pending", "succeeded"]
    assert {(body["type"], body["id"]["order"]) for body in bodies(webhook)} == {("build system", 1)}
    assert {(body["type"], body["id"]) for body in bodies(callback)} == {("jenkins", 5)}


@pytest.mark.slow
async def test_builds_of_both_apis_run_in_the_order_of_acceptance(app: LegacyApp, tmp_path: Path):
    ran = tmp_path / "ran"
    uuids = []
    for number in range(1, 7):
        if number % 2:
            uuids.append(await app.submit(number, f"echo {number} >> {ran}"))
        else:
            assert (await app.shuttle.post(app.path(number), script_request(f"echo {number} >> {ran}"))).status == 200
            uuids.append((await app.shuttle.build(app.path(number)))["build_uuid"])
    builds = [await app.until_recorded(build_uuid) for build_uuid in uuids]
    assert [build.state for build in builds] == ["succeeded"] * 6
    assert ran.read_text().split() == ["1", "2", "3", "4", "5", "6"]
    for earlier, later in pairwise(builds):
        assert earlier.finished_at is not None
        assert later.queued_at is not None
        assert earlier.finished_at <= later.queued_at


async def test_next_number_skips_numbers_of_both_apis(waiting: LegacyApp):
    assert (await waiting.shuttle.post(waiting.path(4), script_request())).status == 200
    body = waiting.request(None)
    assert (await waiting.post(body)).status == 200
    assert (await waiting.record(body["build_uuid"])).build_id != "4"


async def test_older_api_gets_its_build_even_if_the_new_api_requests_the_pair_at_the_same_time(waiting: LegacyApp):
    """The older API always gets its build, the new one only if its request came first."""
    for number in range(10):
        new, legacy = await asyncio.gather(
            waiting.shuttle.post(waiting.path(number), script_request()), waiting.post(waiting.request(number))
        )
        assert (legacy.status, new.status) in {(200, 200), (200, 409)}
        builds = [build for build in await listed(waiting) if build["build_id"] == str(number)]
        assert len(builds) == (2 if new.status == 200 else 1)


async def listed(app: LegacyApp) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await app.shuttle.get(f"/{app.app_id}?limit=200")).json["builds"]
    return found


async def test_new_build_whose_id_is_a_legacy_uuid_gets_another_uuid(waiting: LegacyApp):
    build_uuid = await waiting.submit(1)
    assert (await waiting.shuttle.post(f"/other/{build_uuid}", script_request())).status == 200
    new = await waiting.shuttle.build(f"/other/{build_uuid}")
    assert new["build_uuid"] != build_uuid
    assert (await waiting.record(build_uuid)).app_id == waiting.app_id


async def test_stop_of_the_pair_stops_both_builds(app: LegacyApp):
    assert (await app.shuttle.post(app.path(5), script_request("exec sleep 300"))).status == 200
    await app.until(5, "running")
    first = (await app.shuttle.build(app.path(5)))["build_uuid"]
    second = await app.submit(5, "sleep 300")
    assert (await app.stop(5)).body == OK
    for build_uuid in (first, second):
        assert (await app.until_recorded(build_uuid)).state == "stopped"


@pytest.mark.slow
async def test_source_of_a_new_build_can_be_rebuilt_by_the_legacy_api(app: LegacyApp):
    new = {**script_request(), "source": {"url": app.request()["sources"]}}
    assert (await app.shuttle.post(app.path(1), new)).status == 200
    build_uuid = (await app.shuttle.build(app.path(1)))["build_uuid"]
    await app.submit(2, sources=f"{app.shuttle.url}/{build_uuid}")
    assert (await app.until(2))["state"] == "succeeded"


async def test_deleted_app_has_its_builds_of_both_apis_stopped(app: LegacyApp):
    assert (await app.shuttle.post(app.path("new"), script_request("exec sleep 300"))).status == 200
    await app.until("new", "running")
    legacy = await app.submit(1, "sleep 300")
    assert (await app.delete()).body == OK
    assert (await app.until("new"))["state"] == "stopped"
    assert (await app.until_recorded(legacy)).state == "stopped"
