"""State codes and resumable states of projects, in both shapes and at both paths."""

import asyncio
from typing import Any

import pytest

from tests.support.inprocess import Shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def codes(name: str) -> str:
    """The state codes of a project that no other test uses; `created` makes it."""
    return f"/-/state/projects/{name}/state-codes"


async def created(state: Shuttle, name: str) -> str:
    """Make the project; returns its uuid."""
    uuid: str = (await state.post("/-/state/projects", {"name": name})).json["id"]
    return uuid


async def test_code_is_created_read_changed_and_deleted_by_both_paths(state: Shuttle, name: str, codes: str):
    project = await created(state, name)
    body = {"project_id": project, "code": 48, "name": "snapshot", "display_name": "Snapshot", "description": None}
    body |= {"color": "#00ff00", "is_terminal": False, "sort_order": 3}
    answer = await state.post("/-/state/state-codes", body)
    assert answer.status == 201
    code = answer.json
    assert {key: code[key] for key in body} == body
    for path in (f"{codes}/{code['id']}", f"{codes}/snapshot", f"{codes}/48", f"/-/state/state-codes/{code['id']}/"):
        assert (await state.get(path)).json == code
    assert (await state.get(codes)).json == [code]
    assert code in (await state.get("/-/state/state-codes?limit=1000")).json
    assert (await state.get(f"/-/state/state-codes?project_id={name}")).json == [code]
    changed = await state.ask("PUT", f"/-/state/state-codes/{code['id']}", json={"code": 49, "name": None})
    assert (changed.status, changed.json["code"], changed.json["name"]) == (200, 49, "snapshot")
    assert (await state.ask("PUT", f"{codes}/49", json={"name": "image"})).json["name"] == "image"
    assert (await state.delete(f"/-/state/state-codes/{code['id']}")).status == 204
    assert (await state.get(codes)).json == []
    assert (await state.get(f"{codes}/{code['id']}")).status == 404
    assert len((await state.get(f"{codes}?include_deactivated=true")).json) == 1


async def test_name_without_its_project_is_enough_if_only_one_has_it(state: Shuttle, name: str, codes: str):
    await created(state, name)
    code = (await state.post(codes, {"name": f"{name}-only"})).json
    assert (await state.get(f"/-/state/state-codes/{name}-only")).json == code
    await created(state, f"{name}-2")
    await state.post(f"/-/state/projects/{name}-2/state-codes", {"name": f"{name}-only"})
    assert (await state.get(f"/-/state/state-codes/{name}-only")).status == 409
    assert (await state.get(f"/-/state/state-codes/{code['id']}")).json == code


@pytest.mark.parametrize(
    ("flags", "code", "ends"),
    [
        ({"is_initial": True}, 0, False),
        ({"is_final": True}, 100, True),
        ({"is_error": True}, -1, True),
        ({}, 5, False),
        ({"is_terminal": True}, 100, True),
    ],
    ids=str,
)
async def test_code_is_chosen_by_its_meaning(
    state: Shuttle, name: str, codes: str, flags: dict[str, bool], code: int, ends: bool
):
    await created(state, name)
    made = (await state.post(codes, {"name": "x", **flags})).json
    assert (made["code"], made["is_terminal"]) == (code, ends)
    assert made["is_final"] is (code == 100)


async def test_next_code_is_a_free_multiple_of_5(state: Shuttle, name: str, codes: str):
    await created(state, name)
    given: list[dict[str, Any]] = [
        {},
        {"code": 48},
        {},
        {"is_final": True},
        {"is_final": True},
        {"is_error": True},
        {"code": 95},
        {},
    ]
    made = [(await state.post(codes, {"name": f"n{number}", **body})).json["code"] for number, body in enumerate(given)]
    assert made == [5, 48, 50, 100, 55, -1, 95, 10]
    listed = [each["code"] for each in (await state.get(codes)).json]
    assert listed == sorted(made)


async def test_equal_repeat_returns_the_code_and_others_conflict(state: Shuttle, name: str, codes: str):
    await created(state, name)
    first = await state.post(codes, {"name": "build", "description": "Build"})
    again = await state.post(codes, {"name": "build", "description": "Build"})
    assert (first.status, again.status, again.json) == (201, 200, first.json)
    assert (await state.post(codes, {"name": "build"})).status == 409
    assert (await state.post(codes, {"name": "test", "code": 5})).status == 409
    test = (await state.post(codes, {"name": "test", "code": 10})).json
    for change in ({"code": 5}, {"name": "build"}):
        assert (await state.ask("PUT", f"{codes}/{test['id']}", json=change)).status == 409
    initial = await state.post(codes, {"name": "a", "is_initial": True})
    second = await state.post(codes, {"name": "b", "is_initial": True})
    assert (initial.status, second.status) == (201, 400)


async def test_requests_at_once_never_share_a_code(state: Shuttle, name: str, codes: str):
    await created(state, name)
    answers = await asyncio.gather(*(state.post(codes, {"name": f"n{number % 4}"}) for number in range(12)))
    assert sorted(answer.status for answer in answers) == [200] * 8 + [201] * 4
    assert {answer.json["code"] for answer in answers} == {5, 10, 15, 20}


@pytest.mark.parametrize(
    ("first", "change", "is_final", "is_error", "is_terminal"),
    [
        ({"is_final": True}, {"is_final": False}, False, False, False),
        ({"is_final": True}, {"is_terminal": False}, False, False, False),
        ({"is_terminal": True}, {"is_error": True}, True, True, True),
        ({}, {"is_terminal": True}, True, False, True),
        ({"is_error": True}, {"is_error": False}, False, False, False),
        ({"is_error": True}, {"description": "x"}, False, True, True),
    ],
    ids=str,
)
async def test_flags_agree_after_a_change(
    state: Shuttle,
    name: str,
    codes: str,
    first: dict[str, bool],
    change: dict[str, Any],
    is_final: bool,
    is_error: bool,
    is_terminal: bool,
):
    await created(state, name)
    await state.post(codes, {"name": "x", **first})
    changed = (await state.ask("PUT", f"{codes}/x", json=change)).json
    assert (changed["is_final"], changed["is_error"], changed["is_terminal"]) == (is_final, is_error, is_terminal)


async def test_list_of_all_projects_shows_only_codes_from_0_to_100(state: Shuttle, name: str, codes: str):
    await created(state, name)
    for code in (-1, 0, 100, 101, 999):
        assert (await state.post(codes, {"name": f"n{code}", "code": code})).status == 201
    assert [each["code"] for each in (await state.get(codes)).json] == [-1, 0, 100, 101, 999]
    shown = (await state.get(f"/-/state/state-codes?project_id={name}")).json
    assert [each["code"] for each in shown] == [0, 100]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x", "code": 1000}, "code"),
        ({"name": "x", "code": -2}, "code"),
        ({"name": "x", "code": 1.5}, "code"),
        ({"name": "x", "color": "red"}, "color"),
        ({"name": "x", "is_final": "perhaps"}, "is_final"),
        ({"name": "x", "sort_order": 2**31}, "sort_order"),
        ({"code": 5}, "name"),
    ],
    ids=str,
)
async def test_invalid_field_of_a_code_is_named(
    state: Shuttle, name: str, codes: str, body: dict[str, Any], field: str
):
    answer = await state.post(codes, body)
    assert answer.status == 422
    assert answer.json["detail"][0]["loc"] == ["body", field]


async def test_codes_of_an_unknown_project_get_404(state: Shuttle, name: str):
    for method, path in (
        ("GET", f"projects/{name}/state-codes"),
        ("POST", f"projects/{name}/state-codes"),
        ("GET", f"projects/{name}/state-codes/5"),
        ("GET", f"state-codes?project_id={name}"),
        ("GET", "state-codes?project_id=%00"),
        ("GET", f"state-codes/{name}"),
        ("GET", f"projects/{name}/resumable-states"),
        ("PUT", f"projects/{name}/resumable-states/5"),
    ):
        answer = await state.ask(method, f"/-/state/{path}", json={"name": "x"})
        assert answer.status == 404, (method, path)


async def test_resumable_state_is_created_read_and_changed(state: Shuttle, name: str):
    project, path = await created(state, name), f"/-/state/projects/{name}/resumable-states"
    body = {
        "state_code": 35,
        "resume_strategy": "from_artifact",
        "required_artifacts": ["vm"],
        "required_variables": None,
    }
    answer = await state.post(path, body)
    assert answer.status == 201
    found = answer.json
    assert (found["project_id"], found["is_resumable"], found["resume_timeout_seconds"]) == (project, True, 3600)
    assert (found["required_artifacts"], found["required_variables"], found["notes"]) == (["vm"], [], None)
    assert (await state.post(path, body)).status == 200
    assert (await state.post(path, body | {"resume_strategy": None})).status == 409
    for key in ("35", "035"):
        assert (await state.get(f"{path}/{key}/")).json == found
    changed = await state.ask("PUT", f"{path}/35", json={"is_resumable": False, "resume_strategy": None})
    assert (changed.json["is_resumable"], changed.json["resume_strategy"]) == (False, "from_artifact")
    await state.post(path, {"state_code": 5})
    for query, codes in (("", [5, 35]), ("?is_resumable=true", [5]), ("?is_resumable=false", [35]), ("?skip=1", [35])):
        assert [each["state_code"] for each in (await state.get(path + query)).json] == codes
    for key in ("6", "x", "1000", "-2", "%00"):
        assert (await state.get(f"{path}/{key}")).status == 404
    wrong = await state.post(path, {"state_code": 7, "resume_strategy": "magic"})
    assert (wrong.status, wrong.json["detail"][0]["loc"]) == (422, ["body", "resume_strategy"])
