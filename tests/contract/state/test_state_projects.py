"""Projects below `/-/state`: every app is one."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from shuttle.build import project_id_of
from tests.contract.state.conftest import CONTROLLER
from tests.support.inprocess import Shuttle, running_shuttle, script_request

pytestmark = pytest.mark.asyncio(loop_scope="module")

_BEARER = {"Authorization": f"Bearer {CONTROLLER}"}


async def test_project_is_created_read_changed_and_deleted(state: Shuttle, name: str):
    answer = await state.post("/-/state/projects", {"name": name, "description": "Shop", "parent_project_id": None})
    assert answer.status == 201
    project = answer.json
    assert (project["app_id"], project["is_active"], project["child_projects"]) == (name, True, [])
    for key in (project["id"], project["id"].upper(), name):
        assert (await state.get(f"/-/state/projects/{key}/")).json == project
    assert project in (await state.get("/-/state/projects?limit=1000")).json
    body = {"name": name, "description": "Store", "parent_project_id": None}
    changed = await state.ask("PUT", f"/-/state/projects/{name}", json=body)
    assert (changed.status, changed.json["description"]) == (200, "Store")
    unchanged = await state.ask("PUT", f"/-/state/projects/{name}", json={"description": None})
    assert (unchanged.status, unchanged.json["description"]) == (200, "Store")
    for _ in range(2):
        assert (await state.delete(f"/-/state/projects/{project['id']}")).status == 204
    assert (await state.get(f"/-/state/projects/{name}")).json["is_active"] is False
    assert project["id"] not in str((await state.get("/-/state/projects?limit=1000")).json)
    assert project["id"] in str((await state.get("/-/state/projects?limit=1000&include_deactivated=1")).json)
    again = await state.post("/-/state/projects", {"name": name})
    assert (again.status, again.json["id"], again.json["description"]) == (201, project["id"], None)


async def test_default_project_exists_before_its_first_record(state: Shuttle):
    """State codes are recorded before the first build. Keep this test in front of others that use the project."""
    project = (await state.get("/-/state/projects/default")).json
    assert (project["id"], project["name"]) == (project_id_of("default"), "default")
    assert (await state.get(f"/-/state/projects/{project['id'].upper()}")).json["id"] == project["id"]
    assert (await state.get("/-/state/builds?project_id=default")).json == []
    code = {"code": 48, "name": "snapshot", "display_name": "Snapshot"}
    assert (await state.post("/-/state/projects/default/state-codes", code)).status == 201
    changed = await state.ask("PUT", "/-/state/projects/default", json={"description": "x"})
    assert (changed.status, "create it" in changed.json["detail"]) == (404, True)
    assert (await state.delete("/-/state/projects/default")).status == 404
    assert (await state.post("/-/state/projects", {"name": "default"})).status == 201
    assert [each["code"] for each in (await state.get("/-/state/projects/default/state-codes")).json] == [48]


async def test_app_of_a_build_is_a_project(state: Shuttle, name: str):
    assert (await state.post(f"/{name}/1", script_request(), headers=_BEARER)).status == 200
    listed = [each for each in (await state.get("/-/state/projects?limit=1000")).json if each["app_id"] == name]
    assert [each["id"] for each in listed] == [project_id_of(name)]
    for key in (project_id_of(name), name):
        assert (await state.get(f"/-/state/projects/{key}")).json == listed[0]
    assert (await state.post("/-/state/projects", {"name": name})).status == 200


async def test_project_gets_builds_after_its_creation(state: Shuttle, name: str):
    project = (await state.post("/-/state/projects", {"name": name})).json
    assert (await state.post(f"/{name}/1", script_request(), headers=_BEARER)).status == 200
    assert (await state.get(f"/{name}/1", headers=_BEARER)).json["jenkins"]["job"]
    assert (await state.get(f"/-/state/projects/{name}")).json == project


async def test_equal_requests_at_once_create_one_project(state: Shuttle, name: str):
    answers = await asyncio.gather(*(state.post("/-/state/projects", {"name": name}) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
    assert (await state.post("/-/state/projects", {"name": name, "description": "other"})).status == 409


async def test_long_name_is_cut_for_display(state: Shuttle, name: str):
    long = f"{name}-{'x' * 60}"
    project = (await state.post("/-/state/projects", {"name": long})).json
    assert (project["name"], project["name_full"], project["app_id"]) == (long[:50], long, long)
    assert (await state.get(f"/-/state/projects/{long}")).status == 200
    kept = await state.ask("PUT", f"/-/state/projects/{project['id']}", json={"name": long[:50]})
    assert (kept.status, kept.json["name_full"]) == (200, long)


async def test_project_cannot_be_renamed(state: Shuttle, name: str):
    await state.post("/-/state/projects", {"name": name})
    answer = await state.ask("PUT", f"/-/state/projects/{name}", json={"name": f"{name}-2"})
    assert (answer.status, list(answer.json)) == (400, ["detail"])


@pytest.mark.parametrize("bad", ["-", "..", " x", "a/b", "a\\b", "a\nb", "x" * 129, "", "\ud800", 7])
async def test_name_that_no_app_can_have_is_refused(state: Shuttle, bad: Any):
    answer = await state.post("/-/state/projects", {"name": bad})
    assert answer.status == 422
    assert answer.json["detail"][0]["loc"] == ["body", "name"]


async def test_parent_is_named_by_uuid_or_name_and_never_in_a_circle(state: Shuttle, name: str):
    top = (await state.post("/-/state/projects", {"name": f"{name}-top"})).json
    for key in (top["id"], f"{name}-top"):
        low = await state.post("/-/state/projects", {"name": f"{name}-low", "parent_project_id": key})
        assert low.status in {200, 201}
        assert low.json["parent_project_id"] == top["id"]
    unknown = {"name": f"{name}-x", "parent_project_id": "nobody"}
    answer = await state.post("/-/state/projects", unknown)
    assert (answer.status, answer.json) == (404, {"detail": "Project with id 'nobody' not found"})
    for above in (f"{name}-top", f"{name}-low"):
        answer = await state.ask("PUT", f"/-/state/projects/{top['id']}", json={"parent_project_id": above})
        assert answer.status == 400


async def test_restored_project_is_not_in_a_circle_either(state: Shuttle, name: str):
    for below, above in ((f"{name}-top", None), (f"{name}-low", f"{name}-top")):
        await state.post("/-/state/projects", {"name": below, "parent_project_id": above})
    await state.ask("DELETE", f"/-/state/projects/{name}-top")
    refused = await state.post("/-/state/projects", {"name": f"{name}-top", "parent_project_id": f"{name}-low"})
    assert (refused.status, "cannot contain itself" in refused.json["detail"]) == (400, True)


async def test_null_leaves_the_parent_and_a_restored_project_is_without(state: Shuttle, name: str):
    """Existing clients send null for each option that is not given."""
    top = (await state.post("/-/state/projects", {"name": f"{name}-top"})).json["id"]
    await state.post("/-/state/projects", {"name": name, "parent_project_id": top})
    path = f"/-/state/projects/{name}"
    kept = await state.ask("PUT", path, json={"description": "Shop", "parent_project_id": None})
    assert (kept.status, kept.json["parent_project_id"]) == (200, top)
    assert (await state.ask("DELETE", path)).status == 204
    restored = await state.post("/-/state/projects", {"name": name, "description": "Shop"})
    assert (restored.status, restored.json["parent_project_id"]) == (201, None)
    assert (await state.get(path)).json["is_active"]


@pytest.mark.parametrize("key", ["nobody", "%00", "00000000-0000-4000-8000-000000000000"])
async def test_unknown_project_gets_404(state: Shuttle, key: str):
    for method in ("GET", "PUT", "DELETE"):
        answer = await state.ask(method, f"/-/state/projects/{key}", json={"description": "x"})
        assert (answer.status, answer.json) == (404, {"detail": "Project not found"})


async def test_deleted_default_project_takes_no_records(tmp_path: Path):
    """Before, only requests that named another project were refused."""
    async with running_shuttle(tmp_path) as shuttle:
        assert (await shuttle.post("/-/state/projects", {"name": "default"})).status == 201
        assert (await shuttle.delete("/-/state/projects/default")).status == 204
        for body in ({}, {"project_id": "default"}, {"project_id": project_id_of("default")}):
            assert (await shuttle.post("/-/state/builds", {"build_number": "1", **body})).status == 404
        assert (await shuttle.post("/-/state/projects", {"name": "default"})).status == 201
        assert (await shuttle.post("/-/state/builds", {"build_number": "1"})).status == 201
