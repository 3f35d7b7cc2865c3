"""Ids in paths: percent-decoded once, and refused if they are invalid (docs/contract.md, "Ids")."""

import itertools
from urllib.parse import quote

import pytest

from tests.support.inprocess import Shuttle, script_request

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCRIPT = script_request()
_NUMBERS = itertools.count()


@pytest.mark.parametrize(
    "build_id",
    [
        "1", "a b", "é", "日本語", "🚀", "a%2Fb", "%", "%25", "a+b", "a?b", "a#b", "a&b=c", "a;b", "{x}", "[x]", "<x>",
        '"', "'", "~", "...", "--", "-x", ".x", "status", "logs", "healthz", "x" * 128, "é" * 128, "a:b", "a@b",
        "$HOME", "`id`", "|", "\u200b", "a\u0301", "*", "(a,b)", "^",
    ],
)  # fmt: skip
async def test_other_characters_in_build_ids_are_accepted_unchanged(idle: Shuttle, app: str, build_id: str):
    path = f"/{app}/{quote(build_id, safe='')}"
    assert (await idle.post(path, SCRIPT)).status == 200
    build = await idle.build(path)
    assert (build["app_id"], build["build_id"]) == (app, build_id)
    assert (await idle.get(f"{path}/status")).status == 200
    assert (await idle.get(f"{path}/logs")).status == 200
    assert (await idle.get(f"{path}/artifacts")).status == 200
    assert (await idle.delete(path)).status == 200


@pytest.mark.parametrize("app_id", ["a b {c}", "é/日".replace("/", "|"), "%2F", "B1", "%41"])
async def test_other_characters_in_app_ids_are_accepted_unchanged(idle: Shuttle, app_id: str):
    path = f"/{quote(app_id, safe='')}"
    assert (await idle.post(f"{path}/1", SCRIPT)).status == 200
    assert (await idle.get(path)).json["builds"][0]["app_id"] == app_id


@pytest.mark.parametrize("written", ["a%20b", "%61%20%62", "a%20%62"])
async def test_all_encodings_of_an_id_are_the_same_build(idle: Shuttle, written: str):
    await idle.post("/spellings/a%20b", SCRIPT)
    assert (await idle.build(f"/spellings/{written}"))["build_id"] == "a b"
    assert (await idle.post(f"/spellings/{written}", SCRIPT)).headers["Shuttle-Replayed"] == "true"


async def test_ids_are_decoded_once(idle: Shuttle, app: str):
    await idle.post(f"/{app}/%252F", SCRIPT)
    assert (await idle.build(f"/{app}/%252F"))["build_id"] == "%2F"
    assert (await idle.get(f"/{app}/%25252F")).status == 404


async def test_ids_are_case_sensitive(idle: Shuttle, app: str):
    await idle.post(f"/{app}/Abc", SCRIPT)
    assert (await idle.get(f"/{app}/abc")).status == 404
    assert (await idle.get(f"/{app.upper()}/Abc")).status == 404
    await idle.post(f"/{app}/abc", script_request("false"))
    await idle.post(f"/{app.upper()}/Abc", SCRIPT)
    jobs = {(await idle.build(path))["jenkins"]["job"].lower() for path in (f"/{app}/Abc", f"/{app.upper()}/Abc")}
    assert len(jobs) == 2


@pytest.mark.parametrize(
    "written",
    [
        "%2F", "a%2Fb", "a%5Cb", ".", "..", "%2E", "%2e%2E", "-", "%2D", "x" * 129, "%C3%A9" * 129, "%00", "a%0Ab",
        "%7F", "%C2%85", "%20a", "a%20", "%20", "%FF", "%C3", "%ED%A0%80", "%G0", "a%2", "a%", "%E0%80%AF", "%09a",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["app_id", "build_id"])
async def test_invalid_id_is_refused_and_named(idle: Shuttle, written: str, place: str):
    path = f"/{written}/1" if place == "app_id" else f"/refused/{written}"
    if written in {"-", "%2D"} and place == "app_id":
        assert (await idle.post(path, SCRIPT)).status == 404  # `/-/…` is reserved for routes of the service
        return
    answer = await idle.post(path, SCRIPT)
    assert (answer.status, answer.json.get("field")) == (400, place), answer.body
    assert (await idle.get(path)).status == 404
    assert (await idle.delete(path)).status in {400, 422}


@pytest.mark.parametrize("written", ["%FF", "%2F", ".", "..", "%00", "x" * 129])
async def test_invalid_app_id_gets_404_when_read(idle: Shuttle, written: str):
    answer = await idle.get(f"/{written}")
    assert (answer.status, answer.json) == (404, {"status": "Not Found"})


async def test_path_with_an_empty_id_gets_404(idle: Shuttle):
    for path in ("/app/", "//1", "/app//"):
        assert (await idle.post(path, SCRIPT)).status == 405  # the rest is the path of an app
