"""`POST /`: its fields, its responses, and requests that leave most fields out."""

import asyncio
import hashlib
import json
import os
from base64 import b64encode
from pathlib import Path

import pytest

from tests.contract.legacy.caller import OK, LegacyApp, destinations_in
from tests.support.inprocess import running_shuttle, script_request
from tests.support.receivers import Receiver

pytestmark = pytest.mark.asyncio(loop_scope="module")

MISSING = b'{"status":"Bad Request - missing fields."}'
NO_UUID = b'{"status":"Bad Request - build uuid is invalid."}'
REGISTRY = {"DOCKER_REGISTRY_HOST": "registry.of.the.operator", "DOCKER_REPO": "operator"}


async def test_specified_fields_are_accepted(tmp_path: Path):
    async with running_shuttle(tmp_path, **REGISTRY) as shuttle, Receiver() as callback:
        app = LegacyApp(shuttle)
        body = app.specified(callback=callback.url + "/builds/1", callback_auth="stamp")
        answer = await app.post(body)
        assert (answer.status, answer.body) == (200, OK)
        assert answer.headers["Content-Type"].startswith("application/json")
        assert (await app.record(body["build_uuid"])).api == "legacy"


async def test_fields_of_the_real_client_are_accepted(waiting: LegacyApp):
    body = waiting.request(7)
    answer = await waiting.post(body)
    assert (answer.status, answer.body) == (200, OK)
    build = await waiting.shuttle.build(waiting.path(7))
    assert (build["build_uuid"], build["app_id"], build["build_id"]) == (body["build_uuid"], waiting.app_id, "7")
    assert (build["api"], build["pipeline"]) == ("legacy", "docker-image")


@pytest.mark.parametrize("empty", [None, "", "left out"], ids=str)
@pytest.mark.parametrize("field", ["sources", "app", "space", "app_uuid", "build_uuid"])
async def test_missing_field_gets_the_old_error_message(waiting: LegacyApp, field: str, empty: str | None):
    body = waiting.request()
    if empty == "left out":
        del body[field]
    else:
        body[field] = empty
    answer = await waiting.post(body)
    assert (answer.status, answer.body) == (400, MISSING)


@pytest.mark.parametrize(
    "fields", [("gm_registry_host",), ("gm_registry_repo",), ("gm_registry_host", "gm_registry_repo")]
)
async def test_400_when_no_image_can_be_named(waiting: LegacyApp, fields: tuple[str, ...]):
    answer = await waiting.refused(**dict.fromkeys(fields))
    assert answer.body == MISSING


@pytest.mark.parametrize(
    "build_uuid", ["x", "1", "0a7f4f0e-0000-4000-8000-00000000000", "0a7f4f0e-0000-4000-8000-00000000000g", "../../etc"]
)
async def test_invalid_build_uuid_gets_400(waiting: LegacyApp, build_uuid: str):
    answer = await waiting.refused(build_uuid=build_uuid)
    assert answer.body == NO_UUID


async def test_request_without_a_number_gets_the_next_one_as_id(waiting: LegacyApp):
    async with Receiver() as callback:
        first, given, after = (waiting.request(number, callback=callback.url + "/") for number in (None, 7, None))
        for body in (first, given, after):
            assert (await waiting.post(body)).status == 200
        await callback.until(lambda: sum(exchange.ended for exchange in callback.exchanges) == 3)
        ids = [json.loads(exchange.body)["id"] for exchange in callback.exchanges]
    numbers = [(await waiting.record(body["build_uuid"])).build_id for body in (first, given, after)]
    assert numbers == ["1", "7", "8"]
    assert sorted(ids) == [1, 7, 8]


async def test_simultaneously_assigned_numbers_are_different(waiting: LegacyApp):
    bodies = [waiting.request(None) for _ in range(8)]
    answers = await asyncio.gather(*(waiting.post(body) for body in bodies))
    assert [answer.status for answer in answers] == [200] * 8
    numbers = {(await waiting.record(body["build_uuid"])).build_id for body in bodies}
    assert numbers == {str(number) for number in range(1, 9)}


@pytest.mark.parametrize(
    ("given", "image"),
    [
        ({}, "registry.of.the.operator/operator"),
        ({"gm_registry_host": "registry.example"}, "registry.example/operator"),
        ({"gm_registry_repo": "org/team"}, "registry.of.the.operator/org/team"),
        ({"gm_registry_host": "registry.example:5000", "gm_registry_repo": "org"}, "registry.example:5000/org"),
    ],
)
async def test_missing_registry_fields_are_taken_from_the_settings(tmp_path: Path, given: dict[str, str], image: str):
    async with running_shuttle(tmp_path, **REGISTRY) as shuttle:
        app = LegacyApp(shuttle)
        unsaid = {"gm_registry_host": None, "gm_registry_repo": None, "gm_registry_auth": None}
        environment = await app.environment(**(unsaid | given))
        assert destinations_in(environment) == [f"{image}/{app.app_id}:1.1", f"{image}/{app.app_id}:latest"]


async def test_errors_for_invalid_json_are_those_of_the_new_api(waiting: LegacyApp):
    answer = await waiting.shuttle.post("/", b'{"app": "shop",\n "space": "x",}')
    assert (answer.status, answer.json["code"]) == (400, "invalid_json")
    assert "line 2 column" in answer.json["message"]
    assert (await waiting.shuttle.post("/", b"[]")).status == 400
    assert (await waiting.shuttle.post("/", b"")).status == 400
    answer = await waiting.shuttle.ask("POST", "/", data=b"{}", headers={"Content-Type": "text/xml"})
    assert (answer.status, answer.json["code"]) == (415, "unsupported_media_type")


async def test_older_api_has_no_queue_limit(tmp_path: Path):
    async with running_shuttle(tmp_path, SHUTTLE_QUEUE_LIMIT="1") as shuttle:
        app = LegacyApp(shuttle)
        uuids = [await app.submit(number) for number in range(1, 5)]
        assert (await shuttle.post("/new/1", script_request())).status == 429
        assert [(await app.record(build_uuid)).build_id for build_uuid in uuids] == ["1", "2", "3", "4"]


async def test_503_with_retry_after_while_the_database_fails(tmp_path: Path):
    async with running_shuttle(tmp_path) as shuttle:
        app = LegacyApp(shuttle)
        await shuttle.services.database.close()
        answer = await app.post(app.request())
        assert (answer.status, answer.json["code"]) == (503, "cannot_record")
        assert int(answer.headers["Retry-After"]) > 0


async def test_chunked_body_is_accepted_up_to_the_limit(tmp_path: Path):
    async def chunks(body: bytes):
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    async with running_shuttle(tmp_path, SHUTTLE_MAX_BODY_BYTES="200000") as shuttle:
        app = LegacyApp(shuttle)
        for filler, status in ((150_000, 200), (250_000, 413)):
            body = json.dumps(app.request(filler, message="x" * filler)).encode()
            headers = {"Content-Type": "application/json"}
            answer = await shuttle.ask("POST", "/", data=chunks(body), headers=headers)
            assert answer.status == status, answer.body


async def test_data_source_is_stored_as_an_object_and_not_in_the_database(tmp_path: Path):
    content = os.urandom(3_000_000)
    async with running_shuttle(tmp_path) as shuttle:
        app = LegacyApp(shuttle)
        before = sum(file.stat().st_size for file in shuttle.data.glob("shuttle.db*"))
        build_uuid = await app.submit(sources="data:base64," + b64encode(content).decode())
        source = await shuttle.get(f"/{build_uuid}")
        assert (source.status, hashlib.sha256(source.body).digest()) == (200, hashlib.sha256(content).digest())
        after = sum(file.stat().st_size for file in shuttle.data.glob("shuttle.db*"))
        assert after - before < 500_000


async def test_accepted_build_survives_the_process(tmp_path: Path):
    async with running_shuttle(tmp_path) as shuttle:
        app = LegacyApp(shuttle)
        body = app.request(3)
        assert (await app.post(body)).status == 200
    async with running_shuttle(tmp_path) as shuttle:
        app.shuttle = shuttle
        assert (await app.record(body["build_uuid"])).build_id == "3"
        assert (await app.post(body)).body == OK
        assert len((await shuttle.get(f"/{app.app_id}")).json["builds"]) == 1


FIELDS = (
    "app space app_uuid build_uuid sources build_number gm_registry_host gm_registry_repo gm_registry_auth build_args"
    " kafka_hosts callback callback_auth docker_login docker_password sha org branch repo"
)


@pytest.mark.parametrize("value", [None, 5, True, [], {}, "\ud800", "x" * 5000, "a/b", "..", "\n"], ids=repr)
@pytest.mark.parametrize("field", FIELDS.split())
async def test_odd_values_never_cause_a_500(waiting: LegacyApp, field: str, value: object):
    answer = await waiting.post(waiting.request() | {field: value})
    assert answer.status in {200, 400}, answer.body
