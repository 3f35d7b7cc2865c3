"""`POST /:app_id/:build_id`: the response to each kind of body (docs/contract.md, "Answers")."""

import asyncio
import base64
import gzip
import hashlib
import io
import json
import time
import uuid
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from tests.support.cpu_time import cpu_seconds
from tests.support.inprocess import Shuttle, running_shuttle, script_request

pytestmark = pytest.mark.asyncio(loop_scope="module")

OK = {"status": "OK"}
SCRIPT = script_request()


async def test_200_means_that_the_build_is_recorded(idle: Shuttle, app: str):
    answer = await idle.post(f"/{app}/1", SCRIPT)
    assert (answer.status, answer.json) == (200, OK)
    assert answer.headers["Content-Type"].startswith("application/json")
    assert "Shuttle-Replayed" not in answer.headers
    assert (await idle.build(f"/{app}/1"))["build_id"] == "1"


async def test_repeated_request_starts_nothing(idle: Shuttle, app: str):
    await idle.post(f"/{app}/1", SCRIPT)
    before = await idle.build(f"/{app}/1")
    again = await idle.post(f"/{app}/1", SCRIPT)
    assert (again.status, again.json, again.headers["Shuttle-Replayed"]) == (200, OK, "true")
    assert (await idle.build(f"/{app}/1"))["build_uuid"] == before["build_uuid"]
    assert len((await idle.get(f"/{app}")).json["builds"]) == 1


async def test_hundred_simultaneous_equal_requests_are_one_build(idle: Shuttle, app: str):
    answers = await asyncio.gather(*[idle.post(f"/{app}/1", SCRIPT) for _ in range(100)])
    assert {answer.status for answer in answers} == {200}
    assert sum("Shuttle-Replayed" not in answer.headers for answer in answers) == 1
    assert len((await idle.get(f"/{app}")).json["builds"]) == 1


async def test_simultaneous_different_requests_for_one_pair_conflict(idle: Shuttle, app: str):
    bodies = [script_request(metadata=number) for number in range(20)]
    answers = await asyncio.gather(*[idle.post(f"/{app}/1", body) for body in bodies])
    assert sorted(answer.status for answer in answers) == [200] + [409] * 19
    winner = next(body for body, answer in zip(bodies, answers, strict=True) if answer.status == 200)
    assert (await idle.build(f"/{app}/1"))["metadata"] == winner["metadata"]


async def test_different_request_for_the_pair_is_a_conflict(idle: Shuttle, app: str):
    await idle.post(f"/{app}/1", SCRIPT)
    answer = await idle.post(f"/{app}/1", script_request("false"))
    assert (answer.status, answer.json["code"], answer.json["field"]) == (409, "conflict", "build_id")


@pytest.mark.parametrize(
    ("recorded", "repeated"),
    [
        ({"a": 1, "b": [True, None]}, b'{"b" : [ true,null ] , "a":1.0}'),
        ({"n": 1e3}, b'{"n":1000}'),
        ({"n": 100}, b'{"n":1E2}'),
        ({"text": "\u00e9\u2028"}, '{"text":"é\\u2028"}'.encode()),
        ({"n": -0.0}, b'{"n":0}'),
    ],
    ids=["order, spaces, 1 and 1.0", "1e3 and 1000", "100 and 1E2", "escapes", "minus zero"],
)
async def test_requests_that_are_equal_as_json_are_replayed(idle: Shuttle, app: str, recorded: object, repeated: bytes):
    await idle.post(f"/{app}/1", {"metadata": recorded, **SCRIPT})
    rest = json.dumps(SCRIPT)[1:].encode()
    again = await idle.post(f"/{app}/1", b'\xef\xbb\xbf  {"metadata":' + repeated + b"," + rest + b"\r\n")
    assert again.status == 200, again.body
    assert again.headers["Shuttle-Replayed"] == "true"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"n": 1}, {"n": "1"}),
        ({"n": 1}, {"n": True}),
        ({"n": [1, 2]}, {"n": [2, 1]}),
        ({"n": None}, {}),
        ({"n": 9007199254740993}, {"n": 9007199254740992}),
    ],
)
async def test_requests_that_differ_as_json_conflict(idle: Shuttle, app: str, first: object, second: object):
    await idle.post(f"/{app}/1", script_request(metadata=first))
    assert (await idle.post(f"/{app}/1", script_request(metadata=second))).status == 409


async def test_request_with_an_explicit_default_is_different(idle: Shuttle, app: str):
    """Requests are compared before defaults are applied."""
    await idle.post(f"/{app}/1", SCRIPT)
    assert (await idle.post(f"/{app}/1", script_request(timeout_seconds=1200))).status == 409


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"source": {"url": "https://h/a"},\n "metadata": [1, 2,]}', "a trailing comma at line 2 column 20"),
        (b'{"source": {"url": "https://h/a"},}', "a trailing comma at line 1 column 35"),
        (b'{"a": \n\n  nope}', "line 3 column 3"),
        (b'{"a": 1', "line 1 column 8"),
        (b'{"a": "\xff"}', "line 1 column 8"),
        (b'{"a": NaN}', "NaN"),
        (b"", "empty"),
        (b"   ", "empty"),
        (b"[" * 5000 + b"]" * 5000, "nested"),
        (b'{"a": 1e999}', "1e999"),
        (b"9" * 5000, "not usable"),
        (b"{} {}", "line 1 column 4"),
    ],
)
async def test_error_for_malformed_json_has_the_position(idle: Shuttle, app: str, body: bytes, where: str):
    answer = await idle.post(f"/{app}/1", body)
    assert (answer.status, answer.json["code"], answer.json["status"]) == (400, "invalid_json", "error")
    assert where in answer.json["message"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "source"),
        ({"\ud800": 1, **SCRIPT}, None),
        (script_request(labels={"\ud800": "x"}), "labels"),
        (script_request(human_readable_info="\ud800"), "human_readable_info"),
        ([], None),
        ("text", None),
        (7, None),
        ({"source": {}}, "source.url"),
        ({"source": "https://h/a"}, "source"),
        ({"source": {"url": 5}}, "source.url"),
        ({"source": {"url": "ftp://h/a"}}, "source.url"),
        ({"source": {"url": "https://"}}, "source.url"),
        ({"source": {"url": "https://h:0/"}}, "source.url"),
        ({"source": {"url": "https://h/a", "checksum": "md5:00"}, "pipeline": "script"}, "source.checksum"),
        ({"source": {"url": "git+https://h/a.git#--upload-pack=x"}, "pipeline": "script"}, "source.url"),
        ({"source": {"url": "git+https://h/a.git", "subdir": "../x"}, "pipeline": "script"}, "source.subdir"),
        ({"source": {"url": "https://h/a", "submodules": True}, "pipeline": "script"}, "source.submodules"),
        ({"source": {"url": "data:;base64,!"}, "pipeline": "script"}, "source.url"),
        ({"source": {"url": "https://h/a"}}, "destination.image"),
        ({"source": {"url": "https://h/a"}, "destination": {"image": "http://h/a"}}, "destination.image"),
        (
            {"source": {"url": "https://h/a"}, "destination": {"image": "docker://h/o/r@sha256:" + "0" * 64}},
            "destination.image",
        ),
        (
            {"source": {"url": "https://h/a"}, "destination": {"image": "docker://h/o/a", "url": "docker://h/o/b"}},
            "destination.url",
        ),
        (script_request(pipeline="nonsense"), "pipeline"),
        (script_request(pipeline={"name": "script", "options": {"x": 1}}), "pipeline.options.x"),
        (script_request(webhooks={"status": "gopher://h/"}), "webhooks.status"),
        (script_request(webhooks={"status": ["http://h/", 7]}), "webhooks.status[1]"),
        (
            script_request(webhooks={"logs": {"url": "http://h/", "headers": {"X-Y": "a\nb"}}}),
            "webhooks.logs.headers.X-Y",
        ),
        (script_request(webhooks={"logs": "kafka://h:9092"}), "webhooks.logs"),
        (script_request(webhooks={"logs": "kafka://h:0/topic"}), "webhooks.logs"),
        (script_request(webhooks={"logs": ["http://h/", "kafka://h/not a topic"]}), "webhooks.logs[1]"),
        (script_request(webhooks={"logs": {"url": "kafka://h/t", "headers": {"X": "y"}}}), "webhooks.logs.headers"),
        (script_request(webhooks={"logs": "failover(http://a/, , http://b/)"}), "webhooks.logs"),
        (script_request(webhooks={"status": "failover(http://a/, failover(http://b/))"}), "webhooks.status"),
        (script_request(webhooks={"status": "failover(http://a/, ftp://b/)"}), "webhooks.status"),
        (script_request(webhooks={"status": "failover(kafka://a)"}), "webhooks.status"),
        (script_request(webhooks={"logs": "http://h:65536/"}), "webhooks.logs"),
        (script_request(arguments={"A-B": "x"}), "arguments.A-B"),
        (script_request(arguments={"A": None}), "arguments.A"),
        (script_request(arguments={"A": {"b": 1}}), "arguments.A"),
        (script_request(arguments=["A"]), "arguments"),
        (script_request(secret_arguments=["MISSING"]), "secret_arguments[0]"),
        (script_request(timeout_seconds=0), "timeout_seconds"),
        (script_request(timeout_seconds="60"), "timeout_seconds"),
        (script_request(timeout_seconds=True), "timeout_seconds"),
        (script_request(timeout_seconds=86_401), "timeout_seconds"),
        (script_request(labels={"a": 1}), "labels.a"),
        (script_request(human_readable_info=["x"]), "human_readable_info"),
        (script_request(metadata="x" * 65_536), "metadata"),
        (json.dumps(script_request(metadata={"a": [0]})).replace("[0]", "[1e999]").encode(), "metadata"),
        (json.dumps(script_request(arguments={"A": 0})).replace('"A": 0', '"A": 1e999').encode(), "arguments.A"),
        ({**SCRIPT, "source": SCRIPT["source"] | {"checksum": "sha256:" + "0" * 64}}, "source.checksum"),
        ({"resume_from": "x"}, "resume_from"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_400_names_the_field(idle: Shuttle, app: str, body: object, field: str | None):
    answer = await idle.post(f"/{app}/1", body)
    assert answer.status == 400, answer.body
    assert answer.json.get("field") == field
    assert set(answer.json) <= {"status", "code", "message", "field"}
    assert answer.json["message"].endswith(".")
    assert (await idle.get(f"/{app}/1")).status == 404


async def test_metadata_of_64_kib_is_accepted(idle: Shuttle, app: str):
    metadata = "x" * (65_536 - 2)
    assert (await idle.post(f"/{app}/1", script_request(metadata=metadata))).status == 200
    assert (await idle.build(f"/{app}/1"))["metadata"] == metadata


@pytest.mark.parametrize(
    "metadata", [{"b": 1, "a": [1.5, "é", "\ud800", None]}, 0, "", False, [], 12345678901234567890, "x\0y"]
)
async def test_metadata_is_returned_unchanged(idle: Shuttle, app: str, metadata: object):
    body = json.dumps(script_request(metadata=metadata)).encode()
    assert (await idle.post(f"/{app}/1", body)).status == 200
    assert (await idle.build(f"/{app}/1"))["metadata"] == metadata
    assert (await idle.get(f"/{app}/1/status")).json["id"] == metadata


async def test_numbers_in_metadata_are_returned_as_written(idle: Shuttle, app: str):
    written = b'[1.50,1e-400,-0,1E2,0.1000000000000000055511151231257827,{"a":12345678901234567890.5}]'
    body = json.dumps(script_request(metadata=7)).encode().replace(b": 7", b": " + written)
    assert (await idle.post(f"/{app}/1", body)).status == 200
    assert b'"metadata":' + written in (await idle.get(f"/{app}/1")).body
    assert b'"id":' + written in (await idle.get(f"/{app}/1/status")).body


async def test_correct_checksum_of_a_data_source_is_accepted(idle: Shuttle, app: str):
    source = {"url": "data:application/gzip,abc", "checksum": f"sha256:{hashlib.sha256(b'abc').hexdigest().upper()}"}
    assert (await idle.post(f"/{app}/1", {**SCRIPT, "source": source})).status == 200


@pytest.mark.parametrize("destination", ["image", "url"])
async def test_both_spellings_of_the_destination_are_accepted(idle: Shuttle, app: str, destination: str):
    body = {
        "source": {"url": "http://127.0.0.1:9/a.tgz"},
        "destination": {destination: "docker://user:pa%20ss@registry.example.com/org/repo", "tags": ["v1"]},
    }
    assert (await idle.post(f"/{app}/1", body)).status == 200
    build = await idle.build(f"/{app}/1")
    assert build["destinations"] == ["registry.example.com/org/repo:latest", "registry.example.com/org/repo:v1"]
    assert build["pipeline"] == "docker-image"


async def test_unknown_fields_are_ignored_and_reported(idle: Shuttle, app: str):
    body = script_request(future=1, **{"ünï, cödé\n": 2})
    body["source"]["mirror"] = "x"
    answer = await idle.post(f"/{app}/1", json.dumps(body).encode())
    assert answer.status == 200
    named = answer.headers["Shuttle-Ignored-Fields"].split(", ")
    assert named == ["future", "%C3%BCn%C3%AF%2C c%C3%B6d%C3%A9%0A", "source.mirror"]


async def test_header_with_many_unknown_fields_is_limited(idle: Shuttle, app: str):
    answer = await idle.post(f"/{app}/1", script_request(**{f"é{number}": 1 for number in range(10_000)}))
    named = answer.headers["Shuttle-Ignored-Fields"].split(", ")
    assert len(answer.headers["Shuttle-Ignored-Fields"]) <= 4096
    assert named[0] == "%C3%A90"
    assert named[-1] == "..."
    assert all(name.startswith("%C3%A9") for name in named[:-1])


async def test_secret_too_short_to_mask_causes_a_warning(idle: Shuttle, app: str):
    body = script_request(arguments={"PIN": "12345", "LONG": "123456"}, secret_arguments=["PIN", "LONG"])
    answer = await idle.post(f"/{app}/1", body)
    assert "arguments.PIN" in answer.headers["Shuttle-Warnings"]
    assert "LONG" not in answer.headers["Shuttle-Warnings"]
    assert "12345" not in answer.headers["Shuttle-Warnings"]


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (None, 200),
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("application/vnd.acme+json", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("json", 415),
        ("", 415),
    ],
)
async def test_content_type_of_the_body_is_checked(idle: Shuttle, app: str, content_type: str | None, status: int):
    body = json.dumps(SCRIPT).encode()
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await idle.post(f"/{app}/1", body, headers=headers)
    assert answer.status == status, answer.body
    if status == 415:
        assert answer.json["code"] == "unsupported_media_type"


async def test_body_in_another_charset_than_declared_is_refused(idle: Shuttle, app: str):
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = await idle.ask("POST", f"/{app}/1", data=b'{"source": 1}', headers=headers)
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", lambda body: gzip.compress(body[:5]) + gzip.compress(body[5:])),
        ("deflate", zlib.compress),
        ("identity", bytes),
    ],
)
async def test_compressed_body_is_accepted(idle: Shuttle, app: str, encoding: str, pack: Callable[[bytes], bytes]):
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    body = pack(json.dumps(SCRIPT).encode())
    assert (await idle.ask("POST", f"/{app}/1", data=body, headers=headers)).json == {"status": "OK"}


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzip.compress(b'{"source": 1}')[:-9], 400),
        ("gzip", gzip.compress(b"{}") + b"no gzip", 400),
        ("gzip", gzip.compress(b"") * 5000, 400),
        ("br", b"{}", 415),
        ("gzip, gzip", gzip.compress(gzip.compress(b"{}")), 415),
    ],
)
async def test_badly_compressed_body_is_refused(idle: Shuttle, app: str, encoding: str, body: bytes, status: int):
    headers = {"Content-Encoding": encoding, "Content-Type": "application/json"}
    assert (await idle.ask("POST", f"/{app}/1", data=body, headers=headers)).status == status


async def test_body_that_expands_to_gigabytes_is_refused_at_the_limit(idle: Shuttle, app: str):
    """3 MiB of gzip with 3 GiB of zeros are refused at the limit, without being decompressed further."""
    member = gzip.compress(bytes(64 * 1024**2), 1)
    bomb = member * (3 * 1024**3 // (64 * 1024**2))
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    of_one_member = cpu_seconds(lambda: gzip.decompress(member))
    before = time.process_time()
    wanted = await idle.ask("POST", f"/{app}/1", data=io.BytesIO(bomb), headers=headers)
    assert (wanted.status, wanted.json["code"]) == (413, "body_too_large")
    for method, path in (
        ("GET", "/healthz"),
        ("GET", f"/{app}/1"),
        ("DELETE", f"/{app}/1"),
        ("POST", "/nowhere/at/all"),
    ):
        with suppress(aiohttp.ClientError):  # the service may close the connection before it was read completely
            await idle.ask(method, path, data=io.BytesIO(bomb), headers=headers)
    spent = (time.process_time() - before) / of_one_member
    assert spent < 40, "the five bodies have 48 members each"


async def test_build_id_that_is_a_uuid_becomes_the_build_uuid(idle: Shuttle, app: str):
    wanted = str(uuid.uuid4())
    await idle.post(f"/{app}/{wanted.upper()}", SCRIPT)
    assert (await idle.build(f"/{app}/{wanted.upper()}"))["build_uuid"] == wanted
    # This uuid is taken, so a build of another app with this id gets another uuid.
    await idle.post(f"/{app}-2/{wanted}", SCRIPT)
    other = (await idle.build(f"/{app}-2/{wanted}"))["build_uuid"]
    assert other != wanted
    assert uuid.UUID(other).version == 4


async def test_uuid_requested_by_many_apps_at_once_is_used_once(idle: Shuttle, app: str):
    wanted = str(uuid.uuid4())
    bodies = {f"{app}-{number}": script_request(f"exit {number}") for number in range(8)}
    answers = await asyncio.gather(*[idle.post(f"/{name}/{wanted}", body) for name, body in bodies.items()])
    assert [answer.status for answer in answers] == [200] * 8
    uuids = [(await idle.build(f"/{name}/{wanted}"))["build_uuid"] for name in bodies]
    assert len(set(uuids)) == 8
    assert wanted in uuids
    for build_uuid, body in zip(uuids, bodies.values(), strict=True):
        stored = (await idle.get(f"/{build_uuid}")).body
        assert stored == base64.b64decode(body["source"]["url"].partition(",")[2])


async def test_other_build_ids_get_a_generated_uuid(idle: Shuttle, app: str):
    for build_id in ("7", "123456781234567812345678123456789012", "12345678123456781234567812345678----"):
        await idle.post(f"/{app}/{build_id}", SCRIPT)
        assert uuid.UUID((await idle.build(f"/{app}/{build_id}"))["build_uuid"]).version == 4


async def test_data_source_is_stored_before_the_200(idle: Shuttle, app: str):
    await idle.post(f"/{app}/1", {"source": {"url": "data:text/x-thing;base64,aGVsbG8="}, "pipeline": "script"})
    build = await idle.build(f"/{app}/1")
    stored = await idle.get(f"/{build['build_uuid']}")
    assert (stored.status, stored.body, stored.headers["Content-Type"]) == (200, b"hello", "text/x-thing")
    assert build["source"]["url"] == "data:text/x-thing;base64"


async def test_repeated_data_source_does_not_replace_the_recorded_one(tmp_path: Path):
    # A shuttle of its own: in a shared one, the objects of other tests' builds would change meanwhile.
    async with running_shuttle(tmp_path) as own:
        await own.post("/app/1", SCRIPT)
        build_uuid = (await own.build("/app/1"))["build_uuid"]
        before = await own.get(f"/{build_uuid}")
        objects = sorted(path.name for path in (own.data / "objects").rglob("*") if path.is_file())
        await own.post("/app/1", SCRIPT)
        assert (await own.post("/app/1", script_request("exit 3"))).status == 409
        assert (await own.get(f"/{build_uuid}")).body == before.body
        assert sorted(path.name for path in (own.data / "objects").rglob("*") if path.is_file()) == objects


async def test_invalid_request_is_refused_before_a_conflict_is_checked(idle: Shuttle, app: str):
    await idle.post(f"/{app}/1", SCRIPT)
    wrong = {"source": {"url": "data:;base64,%%%"}, "pipeline": "script"}
    assert (await idle.post(f"/{app}/1", wrong)).status == 400


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS"])
async def test_other_methods_get_405(idle: Shuttle, app: str, method: str):
    answer = await idle.ask(method, f"/{app}/1")
    assert (answer.status, answer.json["code"]) == (405, "method_not_allowed")
    assert {"GET", "POST", "DELETE"} <= set(answer.headers["Allow"].split(","))


async def test_method_that_only_the_older_api_has_gets_405(idle: Shuttle):
    answer = await idle.get("/")
    assert (answer.status, answer.json["code"], answer.headers["Allow"]) == (405, "method_not_allowed", "POST")


@pytest.mark.parametrize("path", ["/-/nothing", "/-/builds/x/y/z", "/a/b/c", "/a/b/c/d/e", "/-/"])
async def test_unknown_path_gets_404(idle: Shuttle, path: str):
    answer = await idle.get(path)
    assert (answer.status, answer.json["code"]) == (404, "not_found")


async def test_log_of_a_build_stopped_before_staging_is_complete(idle: Shuttle, app: str):
    unreachable = {"source": {"url": "http://127.0.0.1:9/source.tar.gz"}, "pipeline": "script"}
    for number in (1, 2):
        await idle.post(f"/{app}/{number}", unreachable)
    await idle.until_shown(f"/{app}/1", lambda build: build["waiting_for"])
    assert (await idle.build(f"/{app}/2"))["state"] == "recorded"
    assert (await idle.delete(f"/{app}/2")).status == 200
    async with asyncio.timeout(20):
        log = await idle.get(f"/{app}/2/logs?follow=true")
    assert log.body == b"-----> The build was stopped on request.\n"
    assert (await idle.build(f"/{app}/1"))["state"] == "staging"
