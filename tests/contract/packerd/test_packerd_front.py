"""Requests that packer over REST refuses, with the code of each error; its health and its description."""

import io
import json
import re
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV2SpecValidator, validate

from shuttle.request import MAX_JSON_BYTES
from shuttle.web.packerd.routes import PACKERD_ROUTES
from shuttle.web.packerd.swagger import document
from tests.contract.packerd.caller import Packerd

pytestmark = pytest.mark.asyncio(loop_scope="module")
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def variables(*pairs: tuple[str, Any]) -> dict[str, Any]:
    return {"giturl": "http://h/x.git", "buildvars": [{"key": key, "value": value} for key, value in pairs]}


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        ({}, 422, 602, "giturl in body is required"),
        ({"giturl": ""}, 422, 602, "giturl in body is required"),
        ({"giturl": None}, 422, 602, "giturl in body is required"),
        ({"giturl": 7}, 422, 601, "giturl in body must be of type string"),
        ([], 422, 601, "the body must be of type object"),
        ({"giturl": "http://h/x.git", "branch": "b" * 65_537}, 422, 603, "at most 65536 chars"),
        ({"giturl": "http://h/x.git", "buildvars": {}}, 422, 601, "buildvars in body must be of type array"),
        (variables(("a", 1)), 422, 601, "buildvars.0.value in body must be of type string"),
        ({"giturl": "http://h/x.git", "buildvars": [{"key": "a"}]}, 422, 602, "buildvars.0.value in body is required"),
        ({"giturl": "http://h/x.git", "git": "yes"}, 422, 601, "git in body must be of type boolean"),
        ({"giturl": "git@h:x.git"}, 400, 400, "giturl"),
        ({"giturl": "ssh://h/x.git"}, 400, 400, "giturl"),
        ({"giturl": "file:///etc"}, 400, 400, "giturl"),
        ({"giturl": "http://h/x.git#main"}, 400, 400, "giturl"),
        ({"giturl": "http://h/x.git?a=b"}, 400, 400, "giturl"),
        ({"giturl": "http://h/x y.git"}, 400, 400, "giturl"),
        ({"giturl": "http://h/x.git", "branch": "--upload-pack=x"}, 400, 400, "branch"),
        ({"giturl": "http://h/x.git", "branch": "a\0b"}, 400, 400, "branch"),
        ({"giturl": "http://h/x.git", "templatepath": "../packer.json"}, 400, 400, "templatepath"),
        ({"giturl": "http://h/x.git", "buildonly": "a\nb"}, 400, 400, "buildonly"),
        ({"giturl": "http://h/x.git", "buildonly": ", "}, 400, 400, "buildonly: must be names"),
        ({"giturl": "http://h/x.git", "buildonly": "b" * 10_001}, 400, 400, "Shorten buildonly"),
        (variables(("a", "b\0c")), 400, 400, "buildvars"),
        (variables(("a.b", "b\0c")), 400, 400, "buildvars"),
        (variables(("a.b", "\ud800")), 400, 400, "must have values without NUL characters and lone surrogates"),
        (variables(*((f"v{number}", "x") for number in range(10_000))), 400, 400, "buildvars"),
    ],
)  # fmt: skip
async def test_request_that_cannot_be_built_is_refused(
    packerd: Packerd, body: Any, status: int, code: int, message: str
):
    answer = await packerd.ask("POST", "/build", json=body)
    assert (answer.status, answer.json["code"], set(answer.json)) == (status, code, {"code", "message"})
    assert message in answer.json["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"/build/queue/{UNKNOWN}", 400, 4),
        ("POST", f"/build/queue/{UNKNOWN}", 400, 4),
        ("DELETE", f"/build/queue/{UNKNOWN}", 400, 4),
        ("GET", f"/build/responses/{UNKNOWN}", 400, 4),
        ("GET", f"/build/responses/{UNKNOWN}/0", 400, 4),
        ("GET", f"/build/responses/{UNKNOWN}/-1", 400, 4),
        ("GET", f"/build/responses/{UNKNOWN}/99999999999999999999", 400, 4),
        ("GET", f"/build/responses/{UNKNOWN}/0/stages/RunPacker", 400, 4),
        ("GET", f"/build/responses/{UNKNOWN}/one", 422, 601),
        ("GET", f"/build/queue/{UNKNOWN[:-1]}", 422, 604),
        ("GET", f"/build/queue/{UNKNOWN}0", 422, 603),
        ("GET", f"/build/responses/{UNKNOWN}/0/stages/{'x' * 65}", 422, 603),
        ("GET", "", 404, 404),
        ("GET", "/build", 405, 405),
    ],
)  # fmt: skip
async def test_error_for_a_wrong_path_has_its_code(packerd: Packerd, method: str, path: str, status: int, code: int):
    answer = await packerd.ask(method, path)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert set(answer.json) == {"code", "message"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json", "Accept": "text/html"}, 406),
        ({"Content-Type": "application/json", "Accept": "text/html, application/json;q=0"}, 406),
        ({"Content-Type": "application/json", "Accept": "text/html, */*;q=0.1"}, 400),
        ({"Content-Type": "application/json", "Expect": "nothing"}, 417),
    ],
    ids=str,
)
async def test_error_for_unsupported_headers_has_its_code(packerd: Packerd, headers: dict[str, str], status: int):
    answer = await packerd.ask("POST", "/build", data=b"{", headers=headers)
    assert (answer.status, answer.json["code"]) == (status, status)


async def test_large_body_has_its_number(packerd: Packerd):
    body = io.BytesIO(json.dumps(variables(("a", "x" * MAX_JSON_BYTES))).encode())
    answer = await packerd.ask("POST", "/build", data=body, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.json["code"]) == (413, 413)


async def test_empty_list_has_no_body(idle: Packerd):
    answer = await idle.get("/build/queue")
    assert (answer.status, answer.body) == (204, b"")


async def test_health_is_answered_also_without_jenkins(packerd: Packerd, idle: Packerd):
    healthy = (await packerd.get("/health")).json
    assert set(healthy) == {"status", "diskpercentfull", "goroutines"}
    assert healthy["status"] in {"ok", "poor", "bad"}
    assert 0 < healthy["diskpercentfull"] <= 100
    away = await idle.get("/health")
    assert (away.status, away.json["status"], away.json["diskpercentfull"]) == (200, "err", 100)


async def test_every_call_but_health_and_description_needs_a_token(guarded: Packerd):
    for route in PACKERD_ROUTES:
        path = re.sub(r"{(\w+)[^}]*}", lambda part: "0" if part[1] == "buildnumber" else UNKNOWN, route.path)
        answer = await guarded.ask(route.method, path)
        open_to_all = path in {"/health", "/swagger.json"}
        assert answer.status == (200 if open_to_all else 401), path
        if not open_to_all:
            assert answer.json["code"] == 401
            assert "WWW-Authenticate" in answer.headers
    reader = {"Authorization": "Bearer reader-token-0000001"}
    assert (await guarded.get("/build/queue", headers=reader)).status == 204
    refused = await guarded.ask("POST", "/build", json={"giturl": "http://h/x.git"}, headers=reader)
    assert (refused.status, refused.json["code"]) == (403, 403)


async def test_description_has_every_route(packerd: Packerd):
    described = (await packerd.get("/swagger.json")).json
    assert described == document()
    operations = {(method.upper(), path) for path, item in described["paths"].items() for method in item}
    assert operations == {(route.method, re.sub(r":[^{}]*}", "}", route.path)) for route in PACKERD_ROUTES}
    references = set(re.findall(r"#/definitions/(\w+)", str(described)))
    assert references == references & set(described["definitions"])
    validate(described, cls=OpenAPIV2SpecValidator)
