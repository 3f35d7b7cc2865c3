"""Access control: tokens, passwords with crumbs and sessions, a reader, anonymous callers."""

from pathlib import Path

import aiohttp
import pytest

from jenkins_emulator import EmulatedJenkins
from tests.unit.jenkins_emulator.conftest import Start
from tests.unit.jenkins_emulator.emulator_caller import XML, Answer, Caller, config

CRUMB = "/crumbIssuer/api/json"


@pytest.fixture
async def jenkins(start: Start) -> EmulatedJenkins:
    return await start()


@pytest.fixture
async def caller(jenkins: EmulatedJenkins, session: aiohttp.ClientSession) -> Caller:
    return Caller(session, jenkins.url)


async def crumb(caller: Caller) -> dict[str, str]:
    answer = await caller.get(CRUMB)
    cookie = answer.headers.get("Set-Cookie", "").split(";")[0]
    return {answer.json["crumbRequestField"]: answer.json["crumb"], **({"Cookie": cookie} if cookie else {})}


async def create(caller: Caller, name: str, headers: dict[str, str] | None = None) -> Answer:
    return await caller.post(
        f"/createItem?name={name}", data=config("steps:echo 'x'"), headers={**XML, **(headers or {})}
    )


async def test_anonymous_callers_and_wrong_credentials_are_refused(
    caller: Caller, session: aiohttp.ClientSession
) -> None:
    anonymous = Caller(session, caller.url, None)
    for path in ("/api/json", "/job/nope/api/json", CRUMB):
        answer = await anonymous.get(path)
        assert answer.status == 403
        assert answer.headers["X-Jenkins"] == "2.568.1"
        assert answer.headers["X-Required-Permission"] == "hudson.model.Hudson.Read"
    assert (await anonymous.get("/login")).status == 200
    assert "No valid crumb" in (await create(anonymous, "a")).text
    for wrong in (Caller(session, caller.url, "admin", "wrong"), Caller(session, caller.url, "nobody", "tok")):
        answer = await wrong.get("/api/json")
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="Jenkins", charset="UTF-8"')
        assert "X-Jenkins" not in answer.headers
        assert "wrong" not in answer.text


async def test_token_needs_no_crumb_and_password_needs_crumb_of_its_session(
    caller: Caller, jenkins: EmulatedJenkins
) -> None:
    assert (await create(caller, "a")).status == 200
    assert (await create(caller, "b", {"Jenkins-Crumb": "bogus"})).status == 200
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        password = Caller(session, jenkins.url, "admin", "pw")
        assert (await create(password, "c")).status == 403
        headers = await crumb(password)
        assert (await create(password, "c", {"Jenkins-Crumb": headers["Jenkins-Crumb"]})).status == 403
        assert (await create(password, "c", headers)).status == 200
        assert (await create(password, "d", headers)).status == 200
        reader = Caller(session, jenkins.url, "reader", "look")
        assert (await reader.get("/job/a/api/json")).status == 200


async def test_post_needs_crumb_of_its_session_without_access_control(start: Start, tmp_path: Path) -> None:
    jenkins = await start(tmp_path / "open", user=None, token=None, password=None, reader_token=None)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        anyone = Caller(session, jenkins.url, None)
        assert (await anyone.get("/api/json")).json["useSecurity"] is False
        headers = await crumb(anyone)
        assert (await create(anyone, "a")).status == 403
        assert (await create(anyone, "a", {"Jenkins-Crumb": headers["Jenkins-Crumb"]})).status == 403
        assert (await create(anyone, "a", headers)).status == 200
        assert (await create(Caller(session, jenkins.url, "x", "y"), "b")).status == 403


@pytest.mark.parametrize(
    ("method", "path", "permission"),
    [
        ("POST", "/createItem?name=x", "hudson.model.Item.Create"),
        ("GET", "/job/j/config.xml", "hudson.model.Item.Configure"),
        ("POST", "/job/j/config.xml", "hudson.model.Item.Configure"),
        ("POST", "/job/j/buildWithParameters", "hudson.model.Item.Build"),
        ("POST", "/job/j/1/stop", "hudson.model.Item.Cancel"),
        ("POST", "/job/j/doDelete", "hudson.model.Item.Delete"),
    ],
)
async def test_reader_lacks_permission(caller: Caller, method: str, path: str, permission: str) -> None:
    await caller.create("j", "steps:echo 'x'")
    await caller.trigger("j")
    await caller.ended("j")
    reader = Caller(caller.session, caller.url, "reader", "look")
    answer = await reader.request(method, path, data=config() if "config" in path or "Item" in path else None)
    assert (answer.status, answer.headers["X-Required-Permission"]) == (403, permission)
