"""Access: tokens, roles, and the ways to send a token (docs/contract.md, "Reading builds")."""

import base64
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from shuttle.web import Role
from shuttle.web.openapi import path_of
from shuttle.web.routes import ROUTES
from tests.support.inprocess import Shuttle, running_shuttle, script_request

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTROLLER, READER = "controller-token-1", "reader-token-2-ü"
SCRIPT = script_request()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    tokens = f"controller:{CONTROLLER},reader:{READER},controller:another-controller"
    async with running_shuttle(tmp_path_factory.mktemp("guarded"), SHUTTLE_TOKENS=tokens) as shuttle:
        yield shuttle


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


GOOD = [
    bearer(CONTROLLER),
    {"Authorization": f"bearer   {CONTROLLER} "},
    bearer("another-controller"),
    basic("anybody", CONTROLLER),
    basic(CONTROLLER, ""),
]
WRONG = [
    {},
    bearer("wrong"),
    bearer(""),
    bearer(CONTROLLER[:-1]),
    bearer(CONTROLLER + "x"),
    basic(CONTROLLER, "wrong"),
    basic("", ""),
    {"Authorization": "Basic !!!"},
    {"Authorization": "Basic " + base64.b64encode(b"\xff\xfe").decode()},
    {"Authorization": CONTROLLER},
    {"Authorization": f"Digest {CONTROLLER}"},
    bearer("ü"),
]


@pytest.mark.parametrize("headers", GOOD)
async def test_controller_may_use_every_route(guarded: Shuttle, app: str, headers: dict[str, str]):
    assert (await guarded.post(f"/{app}/1", SCRIPT, headers=headers)).status == 200
    assert (await guarded.get(f"/{app}/1", headers=headers)).status == 200
    assert (await guarded.delete(f"/{app}/1", headers=headers)).status == 200


async def test_token_in_the_userinfo_of_the_url_is_accepted(guarded: Shuttle, app: str):
    url = guarded.url.replace("://", f"://{CONTROLLER}@") + f"/{app}/1"
    async with guarded.session.post(url, json=SCRIPT) as response:
        assert response.status == 200


@pytest.mark.parametrize("headers", WRONG, ids=str)
async def test_missing_or_wrong_credentials_get_401(guarded: Shuttle, app: str, headers: dict[str, str]):
    for method, path in (("POST", f"/{app}/1"), ("GET", f"/{app}/1"), ("DELETE", f"/{app}/1"), ("GET", "/-/builds")):
        answer = await guarded.ask(method, path, headers=headers)
        assert (answer.status, answer.json["code"]) == (401, "unauthorized")
        assert "WWW-Authenticate" in answer.headers


@pytest.mark.parametrize("headers", [bearer(READER), basic("x", READER), basic(READER, "")])
async def test_reader_may_only_read(guarded: Shuttle, app: str, headers: dict[str, str]):
    await guarded.post(f"/{app}/1", SCRIPT, headers=bearer(CONTROLLER))
    for path in (f"/{app}/1", f"/{app}", f"/{app}/1/logs", f"/{app}/1/status", "/-/builds", "/metrics"):
        assert (await guarded.get(path, headers=headers)).status == 200
    for method, path in (
        ("POST", f"/{app}/2"),
        ("DELETE", f"/{app}/1"),
        ("POST", f"/-/deliveries/replay?app_id={app}"),
    ):
        answer = await guarded.ask(method, path, headers=headers)
        assert (answer.status, answer.json["code"]) == (403, "forbidden")
    assert (await guarded.get(f"/{app}/2", headers=headers)).status == 404


async def test_probes_and_the_document_need_no_token(guarded: Shuttle):
    for path in ("/healthz", "/readyz", "/octhc", "/-/openapi.json"):
        assert (await guarded.get(path)).status in {200, 503}


async def test_every_other_route_needs_a_token(guarded: Shuttle):
    """This includes agents' routes, which neither a controller's token nor a missing one opens."""
    for route in ROUTES:
        path = re.sub(r"{\w+}", "0a7f4f0e-0000-4000-8000-000000000000", path_of(route))
        if route.role is not Role.ANYBODY:
            assert (await guarded.ask(route.method, path)).status == 401, route
        if route.role is Role.AGENT:
            assert (await guarded.ask(route.method, path, headers=bearer(CONTROLLER))).status == 401, route


async def test_without_tokens_pages_of_other_sites_are_refused(idle: Shuttle, app: str):
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert (await idle.post(f"/{app}/1", SCRIPT, headers=headers)).status == 403
    assert (await idle.get("/-/builds", headers=headers)).status == 403
    assert (await idle.get("/-/builds", headers={"Sec-Fetch-Site": "same-origin"})).status == 200
