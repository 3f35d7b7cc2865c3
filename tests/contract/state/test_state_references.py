"""Reference data below `/-/state`: platforms, OS versions, image types, cloud providers, distributions, variants."""

import asyncio
from typing import Any

import pytest

from shuttle.lifecycle.state_token import state_token
from tests.contract.state.conftest import READER
from tests.support.inprocess import Shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")

KINDS = ("platforms", "os-versions", "image-types", "cloud-providers", "os-distributions", "image-variants")
SYNONYMS = [(kind, kind.replace("-", "_")) for kind in KINDS]


@pytest.mark.parametrize(("path", "synonym"), SYNONYMS)
async def test_entry_is_created_read_changed_and_deleted(state: Shuttle, name: str, path: str, synonym: str):
    answer = await state.post(f"/-/state/{path}/", {"name": name, "description": "First"})
    assert answer.status == 201
    entry = answer.json
    assert (entry["name"], entry["description"], entry["deactivated_at"]) == (name, "First", None)
    for key in (entry["id"], entry["id"].upper(), name):
        assert (await state.get(f"/-/state/{synonym}/{key}")).json == entry
    assert entry in (await state.get(f"/-/state/{synonym}?limit=1000")).json
    changed = await state.ask("PUT", f"/-/state/{synonym}/{name}", json={"display_name": "Second", "description": None})
    assert changed.status == 200
    assert (changed.json["display_name"], changed.json["description"]) == ("Second", "First")
    assert (await state.delete(f"/-/state/{synonym}/{entry['id']}/")).status == 204
    for call in (state.get, state.delete):
        answer = await call(f"/-/state/{path}/{name}")
        assert answer.status == 404
        assert answer.json["detail"].endswith("not found")
    assert entry["id"] not in str((await state.get(f"/-/state/{path}?limit=1000")).json)
    assert entry["id"] in str((await state.get(f"/-/state/{path}?limit=1000&include_deactivated=true")).json)


@pytest.mark.parametrize(
    ("path", "sent", "shown"),
    [
        ("platforms", {}, {"cloud_provider": "=", "region": None, "display_name": "=", "description": None}),
        (
            "platforms",
            {"cloud_provider": "aws", "region": "us-east-1"},
            {"cloud_provider": "aws", "region": "us-east-1"},
        ),
        ("os-versions", {}, {"version": "="}),
        ("os-versions", {"version": "9.3", "display_name": None}, {"version": "9.3", "display_name": "="}),
        ("cloud-providers", {"display_name": "AWS"}, {"display_name": "AWS", "end_date": None}),
    ],
)
async def test_absent_fields_have_defaults(
    state: Shuttle, name: str, path: str, sent: dict[str, Any], shown: dict[str, Any]
):
    entry = (await state.post(f"/-/state/{path}", {"name": name, **sent})).json
    assert {key: entry[key] for key in shown} == {key: name if value == "=" else value for key, value in shown.items()}


async def test_equal_repeat_returns_the_entry_and_another_one_conflicts(state: Shuttle, name: str):
    body = {"name": name, "cloud_provider": "aws", "region": None}
    first = await state.post("/-/state/platforms", body)
    again = await state.post("/-/state/platforms", body)
    assert (first.status, again.status) == (201, 200)
    assert again.json == first.json
    other = await state.post("/-/state/platforms", body | {"region": "eu-west-1"})
    assert other.status == 409
    assert name in other.json["detail"]


async def test_deleted_entry_can_be_created_again_with_its_id(state: Shuttle, name: str):
    first = (await state.post("/-/state/image-types", {"name": name, "description": "old"})).json
    await state.delete(f"/-/state/image-types/{name}")
    again = await state.post("/-/state/image-types", {"name": name})
    assert (again.status, again.json["id"], again.json["description"]) == (201, first["id"], None)


async def test_equal_requests_at_once_create_one_entry(state: Shuttle, name: str):
    answers = await asyncio.gather(*(state.post("/-/state/os-versions", {"name": name}) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
    assert len({answer.json["id"] for answer in answers}) == 1


async def test_name_that_is_in_use_cannot_be_taken(state: Shuttle, name: str):
    for each in ("-a", "-b"):
        await state.post("/-/state/platforms", {"name": name + each})
    answer = await state.ask("PUT", f"/-/state/platforms/{name}-a", json={"name": f"{name}-b"})
    assert answer.status == 409
    renamed = await state.ask("PUT", f"/-/state/platforms/{name}-a", json={"name": f"{name}-c"})
    assert (renamed.status, renamed.json["name"]) == (200, f"{name}-c")
    assert (await state.get(f"/-/state/platforms/{name}-a")).status == 404


@pytest.mark.parametrize("name_in_path", ["a%2Fb", "a%20b", "%C3%A9%7B%7D", "50%25", "a%2fc"])
async def test_name_with_any_characters_can_be_read(state: Shuttle, name_in_path: str):
    decoded = {"a%2Fb": "a/b", "a%20b": "a b", "%C3%A9%7B%7D": "é{}", "50%25": "50%", "a%2fc": "a/c"}[name_in_path]
    await state.post("/-/state/image-variants", {"name": decoded})
    assert (await state.get(f"/-/state/image-variants/{name_in_path}")).json["name"] == decoded


@pytest.mark.parametrize("key", ["x" * 4000, "%00", "%FF", "%ED%A0%80", "00000000-0000-4000-8000-000000000000", "%"])
async def test_unknown_key_gets_404(state: Shuttle, key: str):
    answer = await state.get(f"/-/state/platforms/{key}")
    assert (answer.status, answer.json) == (404, {"detail": "Platform not found"})


@pytest.mark.parametrize(
    ("body", "field", "kind"),
    [
        ({}, "name", "missing"),
        ({"name": ""}, "name", "string_too_short"),
        ({"name": "x" * 129}, "name", "string_too_long"),
        ({"name": None}, "name", "string_type"),
        ({"name": "a\0b"}, "name", "value_error"),
        ({"name": "x", "description": "x" * 501}, "description", "string_too_long"),
        ({"name": "x", "region": ["x"]}, "region", "string_type"),
        ({"name": "x", "cloud_provider": "x" * 51}, "cloud_provider", "string_too_long"),
        ([], "", "model_type"),
    ],
    ids=str,
)
async def test_invalid_field_is_named(state: Shuttle, body: Any, field: str, kind: str):
    answer = await state.post("/-/state/platforms", body)
    assert answer.status == 422
    [problem] = answer.json["detail"]
    assert (problem["type"], problem["loc"]) == (kind, ["body", field] if field else ["body"])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("skip=-1", "skip"),
        ("skip=x", "skip"),
        ("limit=1.5", "limit"),
        ("limit=", "limit"),
        ("limit=1e3", "limit"),
        ("limit=%D9%A3", "limit"),
        pytest.param("skip=" + "9" * 5000, "skip", id="long skip"),
        ("include_deactivated=maybe", "include_deactivated"),
    ],
)
async def test_invalid_query_is_named(state: Shuttle, query: str, field: str):
    answer = await state.get(f"/-/state/platforms?{query}")
    assert answer.status == 422
    assert answer.json["detail"][0]["loc"] == ["query", field]


async def test_list_is_paged_in_the_order_of_creation(state: Shuttle, name: str):
    names = [f"{name}-{number}" for number in range(4)]
    for each in names:
        await state.post("/-/state/image-variants", {"name": each})
    listed = [each["name"] for each in (await state.get("/-/state/image-variants?limit=99999999999")).json]
    first = listed.index(names[0])
    assert listed[first:] == names
    page = (await state.get(f"/-/state/image-variants?skip={first + 1}&limit=2")).json
    assert [each["name"] for each in page] == names[1:3]
    assert (await state.get("/-/state/image-variants?skip=999999999999999999")).json == []


async def test_state_token_of_a_build_may_only_read(state: Shuttle, name: str):
    build = (await state.post("/-/state/builds", {"name": name})).json["id"]
    headers = {"X-API-Key": state_token(build, state.services.vault)}
    await state.post("/-/state/platforms", {"name": name})
    for path in ("platforms", f"platforms/{name}", "os_versions/"):
        assert (await state.get(f"/-/state/{path}", headers=headers)).status == 200
    for method, path in (
        ("POST", "platforms"),
        ("DELETE", f"platforms/{name}"),
        ("GET", "projects"),
        ("GET", "users/me"),
    ):
        assert (await state.ask(method, f"/-/state/{path}", json={"name": "x"}, headers=headers)).status == 403


async def test_reader_may_only_read(state: Shuttle, name: str):
    headers = {"X-API-Key": READER}
    assert (await state.get("/-/state/platforms", headers=headers)).status == 200
    for method, path in (("POST", "platforms"), ("PUT", f"platforms/{name}"), ("DELETE", f"platforms/{name}")):
        answer = await state.ask(method, f"/-/state/{path}", json={"name": name}, headers=headers)
        assert (answer.status, answer.json) == (403, {"detail": "Write permission required"})
