"""Access to the older API: a token in the userinfo of the URL, or routes that need none."""

from collections.abc import AsyncIterator
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio

from tests.contract.legacy.caller import LegacyApp
from tests.support.inprocess import Shuttle, running_shuttle, script_request

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTROLLER, READER = "controller-token-1", "token-of-a-reader-2"
TOKENS = f"controller:{CONTROLLER},reader:{READER}"
TOKEN = {"Authorization": f"Bearer {CONTROLLER}"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    async with running_shuttle(tmp_path_factory.mktemp("guarded"), SHUTTLE_TOKENS=TOKENS) as shuttle:
        yield shuttle


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    folder = tmp_path_factory.mktemp("opened")
    async with running_shuttle(folder, SHUTTLE_TOKENS=TOKENS, SHUTTLE_LEGACY_ANONYMOUS="true") as shuttle:
        yield shuttle


def calls(app: LegacyApp, build_uuid: str) -> list[tuple[str, str]]:
    """All legacy routes of a build except the POST; the stop precedes the deletion of the app."""
    return [
        ("HEAD", f"/{build_uuid}"),
        ("GET", f"/{build_uuid}"),
        ("GET", f"{app.path(7)}/status"),
        ("GET", f"{app.path(7)}/logs"),
        ("DELETE", app.path(7)),
        ("DELETE", f"/{app.app_id}"),
    ]


@pytest.mark.parametrize("userinfo", [CONTROLLER, f"anybody:{CONTROLLER}"])
async def test_token_in_the_userinfo_of_the_url_is_accepted_on_every_route(guarded: Shuttle, userinfo: str):
    """The client library sends userinfo as basic authentication."""
    app = LegacyApp(guarded)
    base = guarded.url.replace("://", f"://{userinfo}@")
    body = app.request(7)
    async with aiohttp.ClientSession() as session:
        async with session.post(base, json=body) as response:
            assert response.status == 200
        for method, path in calls(app, body["build_uuid"]):
            async with session.request(method, base + path) as response:
                assert response.status == 200, (method, path)


async def test_routes_refuse_requests_without_a_token(guarded: Shuttle):
    app = LegacyApp(guarded)
    body = app.request(7)
    for headers in ({}, {"Authorization": "Basic d3Jvbmc6"}, {"Authorization": body["build_uuid"]}):
        assert (await app.post(body, headers=headers)).status == 401
        for method, path in calls(app, body["build_uuid"]):
            assert (await guarded.ask(method, path, headers=headers)).status == 401, (method, path)
    assert (await guarded.get(f"/{app.app_id}", headers=TOKEN)).status == 404


async def test_reader_may_only_read(guarded: Shuttle):
    app = LegacyApp(guarded)
    reader = {"Authorization": f"Bearer {READER}"}
    body = app.request(7)
    assert (await app.post(body, headers=TOKEN)).status == 200
    assert (await app.post(app.request(8), headers=reader)).status == 403
    for method, path in calls(app, body["build_uuid"]):
        expected = 403 if method == "DELETE" else 200
        assert (await guarded.ask(method, path, headers=reader)).status == expected, (method, path)


async def test_legacy_anonymous_opens_every_route_of_the_legacy_api(opened: Shuttle):
    app = LegacyApp(opened)
    body = app.request(7)
    assert (await app.post(body)).status == 200
    for method, path in calls(app, body["build_uuid"]):
        assert (await opened.ask(method, path)).status == 200, (method, path)


async def test_legacy_anonymous_opens_no_route_of_the_new_api(opened: Shuttle):
    app = LegacyApp(opened)
    assert (await app.post(app.request(7))).status == 200
    assert (await opened.post("/plain/1", script_request(), headers=TOKEN)).status == 200
    build_uuid = (await opened.get("/plain/1", headers=TOKEN)).json["build_uuid"]
    closed = [
        ("POST", "/plain/2"),
        ("POST", app.path(8)),
        ("GET", "/plain/1"),
        ("GET", "/plain"),
        ("GET", "/plain/1/logs"),
        ("GET", "/plain/1/status"),
        ("DELETE", "/plain/1"),
        ("GET", f"/{build_uuid}"),
        ("GET", app.path(7)),
        ("GET", f"/{app.app_id}"),
        ("GET", "/-/builds"),
        ("GET", "/-/deliveries"),
        ("GET", "/metrics"),
        ("GET", f"/-/builds/{build_uuid}/environment"),
    ]
    for method, path in closed:
        assert (await opened.ask(method, path)).status == 401, (method, path)
    assert (await opened.get("/plain/1", headers=TOKEN)).json["state"] in {"recorded", "staging"}


async def test_legacy_anonymous_does_not_stop_a_new_build_of_an_app_named_like_a_legacy_one(opened: Shuttle):
    path = f"/shop-{uuid4()}/1"
    assert (await opened.post(path, script_request(), headers=TOKEN)).status == 200
    assert (await opened.delete(path)).status != 200
    assert (await opened.get(path, headers=TOKEN)).json["state"] in {"recorded", "staging"}
