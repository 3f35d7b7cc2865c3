"""Identity in the older API: the uuid identifies a build, and two builds may have the same number."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from tests.contract.legacy.caller import OK, LegacyApp, image_source
from tests.support.inprocess import Shuttle, script_request

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def listed(app: LegacyApp) -> list[str]:
    """The uuids of the app's builds, newest first."""
    return [build["build_uuid"] for build in (await app.shuttle.get(f"/{app.app_id}")).json["builds"]]


async def test_same_uuid_and_body_are_the_same_build(waiting: LegacyApp):
    body = waiting.request()
    assert (await waiting.post(body)).body == OK
    again = await waiting.post(dict(reversed(body.items())))
    assert (again.status, again.body) == (200, OK)
    assert await listed(waiting) == [body["build_uuid"]]


async def test_same_uuid_with_another_body_is_a_conflict(waiting: LegacyApp):
    body = waiting.request()
    assert (await waiting.post(body)).status == 200
    for change in ({"branch": "other"}, {"build_number": 2}, {"sources": image_source("false")}):
        answer = await waiting.post(body | change)
        assert (answer.status, answer.json["code"]) == (409, "conflict")
    assert await listed(waiting) == [body["build_uuid"]]


async def test_simultaneous_requests_with_one_uuid_are_one_build(waiting: LegacyApp):
    body = waiting.request(None)
    answers = await asyncio.gather(*(waiting.post(body) for _ in range(6)))
    assert [answer.body for answer in answers] == [OK] * 6
    assert await listed(waiting) == [body["build_uuid"]]


async def test_uuid_is_unique_across_apps(waiting: LegacyApp):
    body = waiting.request()
    assert (await waiting.post(body)).status == 200
    other = LegacyApp(waiting.shuttle)
    assert (await other.post(other.request(build_uuid=body["build_uuid"]))).status == 409


@pytest.mark.slow
async def test_repeated_request_after_the_end_gets_the_same_response(app: LegacyApp):
    body = app.request()
    assert (await app.post(body)).status == 200
    await app.until()
    assert (await app.post(body)).body == OK
    assert (await app.post(body | {"branch": "other"})).status == 409


@pytest.mark.slow
async def test_builds_with_the_same_number_run_one_after_another(app: LegacyApp, tmp_path: Path):
    gate = tmp_path / "gate"
    waits = f"while [ ! -e {gate} ]; do sleep 0.1; done; echo ran"
    earlier, later = await app.submit(3, waits), await app.submit(3, "echo the later one")
    assert await listed(app) == [later, earlier]
    await app.until_recorded(earlier, lambda build: build.state == "running")
    newest = await app.shuttle.until_shown(app.path(3), lambda build: build["waiting_for"])
    assert newest["build_uuid"] == later
    gate.touch()
    builds = [await app.until_recorded(build_uuid) for build_uuid in (earlier, later)]
    assert [build.state for build in builds] == ["succeeded", "succeeded"]
    assert builds[0].finished_at is not None
    assert builds[1].queued_at is not None
    assert builds[0].finished_at <= builds[1].queued_at


@pytest.mark.slow
async def test_routes_with_a_number_refer_to_the_newest_build(app: LegacyApp):
    earlier = await app.submit(3, "echo the earlier one; exit 1")
    await app.until_recorded(earlier)
    later = await app.submit(3, "echo the later one")
    await app.until_recorded(later)
    assert (await app.shuttle.build(app.path(3)))["build_uuid"] == later
    assert (await app.status(3)).json["status"] == "succeeded"
    log = (await app.logs(3)).body
    assert b"the later one" in log
    assert b"the earlier one" not in log
    assert (await app.shuttle.get(f"/{earlier}")).status == 200


async def test_delete_of_a_number_stops_all_its_running_builds(app: LegacyApp):
    earlier, later = await app.submit(3, "sleep 300"), await app.submit(3, "sleep 300")
    await app.until_recorded(earlier, lambda build: build.state == "running")
    assert (await app.stop(3)).body == OK
    builds = [await app.until_recorded(build_uuid) for build_uuid in (earlier, later)]
    assert [build.state for build in builds] == ["stopped", "stopped"]


@pytest.mark.slow
async def test_legacy_build_with_the_ids_of_a_new_build_is_another_build(app: LegacyApp, tmp_path: Path):
    gate = tmp_path / "gate"
    new = script_request(f"while [ ! -e {gate} ]; do sleep 0.1; done")
    assert (await app.shuttle.post(app.path(5), new)).status == 200
    await app.until(5, "running")
    first = (await app.shuttle.build(app.path(5)))["build_uuid"]
    second = await app.submit(5, "echo legacy")
    assert await listed(app) == [second, first]
    gate.touch()
    earlier, later = [await app.until_recorded(build_uuid) for build_uuid in (first, second)]
    assert (earlier.state, later.state) == ("succeeded", "succeeded")
    assert (earlier.api, later.api) == ("new", "legacy")
    assert earlier.finished_at is not None
    assert later.queued_at is not None
    assert earlier.finished_at <= later.queued_at


async def test_new_build_with_the_ids_of_a_legacy_build_is_a_conflict(waiting: LegacyApp):
    await waiting.submit(5)
    answer = await waiting.shuttle.post(waiting.path(5), script_request())
    assert (answer.status, answer.json["code"]) == (409, "conflict")
    assert len(await listed(waiting)) == 1


async def test_uuid_of_a_new_build_is_a_conflict(idle: Shuttle, waiting: LegacyApp):
    build_uuid = str(uuid4())
    assert (await idle.post(f"/{waiting.app_id}/{build_uuid}", script_request())).status == 200
    assert (await waiting.post(waiting.request(build_uuid=build_uuid))).status == 409


@pytest.mark.parametrize("number", [7, "7"])
async def test_ids_are_made_of_app_uuid_and_number(waiting: LegacyApp, number: object):
    await waiting.submit(number)
    (build,) = (await waiting.shuttle.get(f"/{waiting.app_id}")).json["builds"]
    assert (build["app_id"], build["build_id"]) == (f"shop-{waiting.app_uuid}", "7")
