"""The front of `/-/state`: tokens, the form of errors, bodies and paths."""

import io
import json
from typing import Any

import pytest

from tests.contract.state.conftest import CONTROLLER, READER
from tests.support.inprocess import Shuttle, running_shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODY = {"X-API-Key": ""}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": READER},
        {"X-API-Key": f" {CONTROLLER} "},
        {"X-API-Key": "", "Authorization": f"Bearer {READER}"},
        {"X-API-Key": "wrong", "Authorization": f"bearer  {CONTROLLER}"},
        {"X-API-Key": READER, "Authorization": "Bearer wrong"},
    ],
    ids=str,
)
async def test_key_or_bearer_token_is_accepted(state: Shuttle, headers: dict[str, str]):
    answer = await state.get("/-/state/users/me", headers=headers)
    assert answer.status == 200
    assert answer.json["username"] == ("controller" if CONTROLLER in str(headers) else "reader")


@pytest.mark.parametrize(
    "headers",
    [
        NOBODY,
        {"X-API-Key": "wrong"},
        {"X-API-Key": CONTROLLER[:-1]},
        {"X-API-Key": "ü"},
        {"X-API-Key": "", "Authorization": CONTROLLER},
        {"X-API-Key": "", "Authorization": "Bearer"},
    ],
    ids=str,
)
async def test_missing_or_wrong_token_gets_the_401_that_existing_clients_know(state: Shuttle, headers: dict[str, str]):
    answer = await state.get("/-/state/users/me", headers=headers)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer, X-API-Key"
    assert answer.json == {"detail": "Authentication required. Use Bearer token or X-API-Key."}


@pytest.mark.parametrize(
    "path", ["/health", "/health/", "/health/liveness", "/health/liveness/", "/ready", "/health/readiness/", "/status"]
)
async def test_probes_need_no_token_and_a_path_may_end_with_a_slash(state: Shuttle, path: str):
    answer = await state.get(f"/-/state{path}", headers=NOBODY)
    assert answer.status == 200
    assert answer.json["status"] in {"healthy", "ready", "operational"}
    assert (await state.ask("HEAD", f"/-/state{path}", headers=NOBODY)).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/health//", 404),
        ("GET", "//health", 404),
        ("PUT", "/health", 405),
        ("DELETE", "/token/", 405),
        ("GET", "/users", 404),
        ("POST", "/users/", 404),
        ("PATCH", "/users/me", 404),
        ("GET", "/users/7/tokens", 404),
    ],
)
async def test_unknown_path_or_method_gets_a_detail(state: Shuttle, method: str, path: str, status: int):
    answer = await state.ask(method, f"/-/state{path}")
    assert answer.status == status
    assert list(answer.json) == ["detail"]
    assert ("Allow" in answer.headers) is (status == 405)
    assert ("SHUTTLE_TOKENS" in answer.json["detail"]) is path.startswith("/users")


@pytest.mark.parametrize("path", ["/token", "/token/", "/auth/token", "/auth/idm", "/auth/password"])
@pytest.mark.parametrize(
    "sent", [{"data": f"username=a%20b&password={READER}"}, {"json": {"password": READER}}], ids=str
)
async def test_login_returns_the_token_that_is_its_password(state: Shuttle, path: str, sent: dict[str, Any]):
    if "json" in sent:
        sent = {"json": {"username": "ci", **sent["json"]}}
    answer = await state.ask("POST", f"/-/state{path}", headers=NOBODY, **sent)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert (answer.json["access_token"], answer.json["token_type"]) == (READER, "bearer")


@pytest.mark.parametrize(("size_bytes", "status"), [(16 * 1024, 401), (16 * 1024 + 1, 413)])
async def test_size_of_a_login_is_limited_because_anybody_may_send_it(state: Shuttle, size_bytes: int, status: int):
    answer = await state.post("/-/state/token", b"password=wrong&username=ci".ljust(size_bytes, b"x"))
    assert answer.status == status


async def test_login_with_another_password_gets_401(state: Shuttle):
    answer = await state.post("/-/state/token", b"username=ci&password=wrong")
    assert (answer.status, answer.json) == (401, {"detail": "Incorrect username or password"})


@pytest.mark.parametrize(
    ("body", "kind", "loc"),
    [
        (b"{", "json_invalid", ["body"]),
        (b'{"username": 1}', "string_type", ["body", "username"]),
        (b"{}", "missing", ["body", "username"]),
        (b"", "missing", ["body", "username"]),
        (b"username=x", "missing", ["body", "password"]),
        (b'{"username": "\\ud800", "password": "x"}', "value_error", ["body", "username"]),
    ],
)
async def test_body_of_another_shape_gets_a_list_of_problems(state: Shuttle, body: bytes, kind: str, loc: list[str]):
    answer = await state.post("/-/state/token", body)
    assert answer.status == 422
    first = answer.json["detail"][0]
    assert (first["type"], first["loc"], set(first)) == (kind, loc, {"type", "loc", "msg"})


async def test_unknown_fields_are_ignored_and_named(state: Shuttle):
    body = {"username": "ci", "password": READER, "scope": "x", "é": 1}
    answer = await state.post("/-/state/token", body)
    assert (answer.status, answer.headers["Shuttle-Ignored-Fields"]) == (200, "scope, %C3%A9")


async def test_body_above_1_mib_gets_413(state: Shuttle):
    largest = json.dumps({"build_number": "large"}).encode()
    filled = largest[:-1] + b" " * (1024 * 1024 - len(largest)) + b"}"
    assert (await state.ask("POST", "/-/state/builds", data=io.BytesIO(filled))).status == 201
    answer = await state.ask("POST", "/-/state/builds", data=io.BytesIO(filled + b" "))
    assert (answer.status, list(answer.json)) == (413, ["detail"])


async def test_errors_of_the_other_paths_keep_their_form(state: Shuttle):
    for path in ("/-/statement", "/-/nothing", "/app/1"):
        answer = await state.get(path, headers={"Authorization": f"Bearer {READER}"})
        assert (answer.status, answer.json["status"]) == (404, "error")


async def test_service_without_tokens_lets_everybody_in_except_pages_of_other_sites(tmp_path):
    async with running_shuttle(tmp_path) as shuttle:
        assert (await shuttle.get("/-/state/users/me")).json["username"] == "controller"
        assert (await shuttle.post("/-/state/token", b"username=ci&password=any")).json["access_token"] == "any"
        answer = await shuttle.get("/-/state/users/me", headers={"Sec-Fetch-Site": "cross-site"})
        assert (answer.status, list(answer.json)) == (403, ["detail"])


async def test_database_that_does_not_answer_makes_the_service_unready(tmp_path):
    async with running_shuttle(tmp_path) as shuttle:
        await shuttle.services.database.close()
        answer = await shuttle.get("/-/state/health/readiness")
        assert (answer.status, answer.json["status"], answer.json["database"]) == (503, "unready", "error")
        assert (await shuttle.get("/-/state/health")).status == 200
        status = (await shuttle.get("/-/state/status")).json["database"]
        assert status == {"type": "sqlite", "status": "error", "builds_count": None}
