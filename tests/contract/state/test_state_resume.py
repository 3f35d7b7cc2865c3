"""Resuming a record below `/-/state`: the context, the successor, and the reports of its CI system."""

from typing import Any
from urllib.parse import quote

import pytest

from shuttle.lifecycle.state_token import state_token
from tests.contract.state.conftest import READER
from tests.support.inprocess import Shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")
BUILDS = "/-/state/builds"


async def post(state: Shuttle, path: str, body: Any) -> Any:
    answer = await state.ask("POST", f"{BUILDS}{path}", json=body)
    assert answer.status in {200, 201}, answer.text
    return answer.json


async def failed_build(state: Shuttle, name: str, project: str | None = None) -> str:
    """A record that failed in state 20, with two artifacts (one is resumable) and two variables; returns its uuid."""
    uuid = (await post(state, "", {"build_number": name, "project_id": project, "platform": "aws"}))["id"]
    await post(state, f"/{uuid}/states", {"state": 10, "status": "in_progress"})
    await post(state, f"/{uuid}/states", {"state": 20, "status": "in_progress"})
    await post(state, f"/{uuid}/artifacts", {"artifact_name": "disk", "artifact_type": "vm_snapshot"})
    await post(state, f"/{uuid}/artifacts", {"artifact_name": "notes", "artifact_type": "x", "is_resumable": False})
    await post(state, f"/{uuid}/variables", {"variable_key": "AMI", "variable_value": "ami-1"})
    secret = {"variable_key": "KEY", "variable_value": "s3cret-value", "is_sensitive": True}
    await post(state, f"/{uuid}/variables", secret)
    await post(state, f"/{uuid}/failures", {"state": -1, "failure_type": "ansible", "error_message": "It broke."})
    return str(uuid)


async def test_context_says_where_to_begin_and_with_what(state: Shuttle, name: str):
    uuid = await failed_build(state, name)
    context = (await state.get(f"{BUILDS}/{uuid}/resume-context")).json
    assert [context[f"{key}_state"] for key in ("current", "last_successful", "failed", "resume_from")] == [
        20,
        10,
        20,
        20,
    ]
    assert [artifact["artifact_name"] for artifact in context["artifacts"]] == ["disk"]
    assert context["variables"] == {"AMI": "ami-1", "KEY": "******"}
    resumed = (await post(state, f"/{uuid}/resume", {}))["resumed_build_id"]
    own = {"X-API-Key": state_token(resumed, state.services.vault)}
    told = (await state.get(f"{BUILDS}/{uuid}/resume-context", headers=own)).json
    assert told["variables"] == {"AMI": "ami-1", "KEY": "s3cret-value"}, "the successor needs them"
    read = (await state.get(f"{BUILDS}/{uuid}/resume-context", headers={"X-API-Key": READER})).json
    assert read["variables"]["KEY"] == "******"


async def test_newest_commit_of_a_record_is_refused(state: Shuttle, name: str):
    """Before, `latest` had no effect for a record, and no answer said so."""
    uuid = await failed_build(state, name)
    refused = await state.ask("POST", f"{BUILDS}/{uuid}/resume", json={"latest": True})
    assert (refused.status, "latest" in refused.json["detail"]) == (400, True)
    assert (await state.get(f"{BUILDS}/{uuid}/resume")).json == []
    await post(state, f"/{uuid}/resume", {"latest": False})


async def test_resume_makes_one_pending_successor_that_the_ci_system_moves(state: Shuttle, name: str):
    uuid = await failed_build(state, name)
    body = {"resume_reason": "the playbook is mended", "requested_by": "me", "orchestration_config": {"job": "x"}}
    first = await post(state, f"/{uuid}/resume", body)
    assert (await post(state, f"/{uuid}/resume", body))["id"] == first["id"]
    assert (first["build_number"], first["orchestration_status"], first["resume_from_state"]) == (
        f"{name}-r1",
        "pending",
        20,
    )
    assert (first["build_id"], first["resumed_build_id"]) == (uuid, first["resume_request_id"])
    other = await state.ask("POST", f"{BUILDS}/{uuid}/resume", json={})
    assert other.status == 409
    path = f"/-/state/resume-requests/{first['id']}"
    for status in ("triggered", "running"):
        moved = await state.ask("PATCH", path, json={"orchestration_status": status, "orchestration_job_id": "7"})
        assert (moved.json["orchestration_status"], moved.json["orchestration_job_id"]) == (status, "7")
    await post(state, f"/{uuid}/states", {"state": 30, "status": "by the old id"})
    successor = (await state.get(f"{BUILDS}/{first['id']}")).json
    assert (successor["current_state"], successor["status"], successor["resume_from"]) == (30, "running", uuid)
    assert successor["platform"]["name"] == "aws"
    assert (await state.get(f"{BUILDS}/{uuid}/states")).json[-1]["state"] == 20, "reads of the old id stay old"
    await state.ask("PATCH", path, json={"orchestration_status": "completed"})
    listed = (await state.get(f"{BUILDS}/{uuid}/resume-requests")).json
    assert [each["orchestration_status"] for each in listed] == ["completed"]
    assert (await state.get(f"{BUILDS}/{uuid}/resume/{first['id']}/")).json == listed[0]


@pytest.mark.parametrize("body", [{"status": "failed"}, {"status": "failed", "current_state": 40, "ami_id": "ami-1"}])
async def test_repeated_put_that_ended_a_build_leaves_its_pending_successor_alone(
    state: Shuttle, name: str, body: dict[str, Any]
):
    uuid = (await post(state, "", {"build_number": name}))["id"]
    first = await state.ask("PUT", f"{BUILDS}/{uuid}", json=body)
    successor = (await post(state, f"/{uuid}/resume", {"resume_from_state": 10}))["id"]
    again = await state.ask("PUT", f"{BUILDS}/{uuid}", json=body)
    assert (again.status, again.json["id"], again.json["status"]) == (200, uuid, first.json["status"])
    shown = (await state.get(f"{BUILDS}/{successor}")).json
    assert (shown["status"], shown["ami_id"]) == ("pending", None)


async def test_numbers_count_as_texts(state: Shuttle, name: str):
    """Before, they were a 422."""
    uuid = await failed_build(state, name)
    number = int(uuid[:8], 16)
    made = await post(state, f"/{uuid}/resume", {"build_number": number, "resume_reason": None, "reason": "again"})
    assert (made["build_number"], made["resume_reason"]) == (str(number), "again")
    body = {"orchestration_status": "running", "orchestration_job_id": 7}
    moved = await state.ask("PATCH", f"/-/state/resume-requests/{made['id']}", json=body)
    assert (moved.status, moved.json["orchestration_job_id"]) == (200, "7")


async def test_build_that_resumes_another_one_also_leaves_what_that_one_left(state: Shuttle, name: str):
    """Before, the resume of a resumed build lacked the artifacts and variables of the states that were done."""
    old = await failed_build(state, name)
    first = (await post(state, f"/{old}/resume", {}))["id"]
    await post(state, f"/{first}/states", {"state": 20, "status": "again"})
    await post(state, f"/{first}/variables", {"variable_key": "AMI", "variable_value": "ami-2"})
    await post(state, f"/{first}/artifacts", {"artifact_name": "notes", "artifact_type": "y"})
    await post(state, f"/{first}/failures", {"error_message": "It broke again."})
    context = (await state.get(f"{BUILDS}/{first}/resume-context")).json
    assert (context["last_successful_state"], context["resume_from_state"]) == (10, 20)
    left = [(artifact["artifact_name"], artifact["build_id"]) for artifact in context["artifacts"]]
    assert left == [("notes", first), ("disk", old)]
    assert context["variables"] == {"AMI": "ami-2", "KEY": "******"}
    second = (await post(state, f"/{first}/resume", {}))["id"]
    own = {"X-API-Key": state_token(second, state.services.vault)}
    told = (await state.get(f"{BUILDS}/{first}/resume-context", headers=own)).json
    assert told["variables"] == {"AMI": "ami-2", "KEY": "s3cret-value"}


async def test_build_is_not_resumed_while_a_later_one_of_its_line_is(state: Shuttle, name: str):
    """Before, only its own successors counted: two builds continued the same work at once."""
    line = [await failed_build(state, name)]
    for _ in range(2):
        line.append((await post(state, f"/{line[-1]}/resume", {}))["id"])
        if len(line) == 2:
            await post(state, f"/{line[-1]}/failures", {"error_message": "It broke again."})
    old, first, second = line
    refused = await state.ask("POST", f"{BUILDS}/{old}/resume", json={})
    newest = (await state.get(f"{BUILDS}/{second}")).json["build_number"]
    assert (refused.status, f"Build {newest} " in refused.json["detail"]) == (409, True)
    assert (await post(state, f"/{first}/resume", {}))["id"] == second, "a repeat"
    await post(state, f"/{second}/failures", {"error_message": "And again."})
    other = (await post(state, f"/{old}/resume", {}))["id"]
    for later in (first, second):
        assert (await state.ask("POST", f"{BUILDS}/{later}/resume", json={})).status == 409
    assert (await post(state, f"/{old}/resume", {}))["id"] == other, "a repeat"


async def test_late_report_about_a_resume_does_not_end_the_next_one(state: Shuttle, name: str):
    """Before, the repeated report ended the record that resumes this one, and the answer was about that record."""
    first = await post(state, f"/{await failed_build(state, name)}/resume", {})
    path = f"/-/state/resume-requests/{first['id']}"
    report = {"orchestration_status": "failed", "error_message": "There is no agent."}
    failed = (await state.ask("PATCH", path, json=report)).json
    second = await post(state, f"/{first['id']}/resume", {})
    repeated = await state.ask("PATCH", path, json=report)
    assert (repeated.status, repeated.json) == (200, failed)
    assert (await state.ask("PATCH", path, json={"orchestration_status": "completed"})).status == 400
    assert (await state.get(f"/-/state/resume-requests/{second['id']}")).json == second


async def test_change_by_the_old_id_needs_a_variable_of_the_successor(state: Shuttle, name: str):
    """Before, the answer was 500: only the old build had the variable."""
    uuid = await failed_build(state, name)
    resumed = (await post(state, f"/{uuid}/resume", {}))["resumed_build_id"]
    path, change = f"{BUILDS}/{uuid}/variables/AMI", {"is_required_for_resume": True}
    missing = await state.ask("PATCH", path, json=change)
    assert (missing.status, missing.json) == (404, {"detail": "Variable not found"})
    await post(state, f"/{uuid}/variables", {"variable_key": "AMI", "variable_value": "ami-2"})
    changed = (await state.ask("PATCH", path, json=change)).json
    assert (changed["build_id"], changed["variable_value"]) == (resumed, "ami-2")


async def test_number_of_a_successor_is_shown_as_its_predecessor_has_it(state: Shuttle, name: str):
    uuid = await failed_build(state, f"folder/{name}")
    request = await post(state, f"/{uuid}/resume", {})
    successor = (await state.get(f"{BUILDS}/{request['id']}")).json
    assert [request["build_number"], successor["build_number"]] == [f"folder/{name}-r1"] * 2
    own = await post(state, f"/{await failed_build(state, name)}/resume", {"build_number": f"own/{name}"})
    assert own["build_number"] == f"own/{name}"


@pytest.mark.parametrize("character", ["n", "/", "ü"])
async def test_long_number_is_cut_for_its_successor(state: Shuttle, name: str, character: str):
    """Before, the id of the successor was too long for every path, its own URL included."""
    number = name + character * ((128 - len(name)) // len(character.replace("/", "%2F")))
    uuid = (await post(state, "", {"build_number": number}))["id"]
    numbers = set[str]()
    for _ in range(11):
        await post(state, f"/{uuid}/failures", {"state": 20, "error_message": "It broke."})
        request = await post(state, f"/{uuid}/resume", {})
        uuid = request["resumed_build_id"]
        numbers.add(request["build_number"])
        key = quote(f"default/{request['build_number']}", safe="")
        build = (await state.get(f"{BUILDS}/{key}")).json
        assert build["id"] == uuid
        path = build["url"].removeprefix(state.services.settings.build_shuttle_host)
        assert (await state.get(path, headers={"Authorization": f"Bearer {READER}"})).json["build_uuid"] == uuid
    assert len(numbers) == 11


async def test_request_is_not_found_below_another_build(state: Shuttle, name: str):
    request = await post(state, f"/{await failed_build(state, name)}/resume", {})
    other = await failed_build(state, f"{name}-other")
    path = f"{BUILDS}/{other}/resume/{request['id']}"
    assert (await state.get(path)).status == 404
    assert (await state.ask("PATCH", path, json={"orchestration_status": "failed"})).status == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"resume_to_state": 20}, 400),
        ({"resume_from_state": 30, "resume_to_state": 30}, 400),
        ({"resume_from_state": 1000}, 422),
        ({"resume_from_state": "x"}, 422),
        ({"build_number": "."}, 400),
    ],
)
async def test_bad_request_to_resume_is_refused(state: Shuttle, name: str, body: dict[str, Any], status: int):
    uuid = await failed_build(state, name)
    assert (await state.ask("POST", f"{BUILDS}/{uuid}/resume", json=body)).status == status


async def test_running_or_completed_build_is_not_resumed(state: Shuttle, name: str):
    uuid = (await post(state, "", {"build_number": name}))["id"]
    assert (await state.ask("POST", f"{BUILDS}/{uuid}/resume", json={})).status == 409
    await state.ask("PUT", f"{BUILDS}/{uuid}", json={"status": "completed"})
    assert (await state.ask("POST", f"{BUILDS}/{uuid}/resume", json={})).status == 409


async def test_resumable_state_requires_variables_and_may_skip_its_code(state: Shuttle, name: str):
    assert (await state.ask("POST", "/-/state/projects", json={"name": name})).status == 201
    path = f"/-/state/projects/{name}/resumable-states"
    wanted = {"state_code": 20, "resume_strategy": "skip_to_next", "required_variables": ["MISSING"]}
    assert (await state.ask("POST", path, json=wanted)).status == 201
    uuid = await failed_build(state, name, name)
    refused = await state.ask("POST", f"{BUILDS}/{uuid}/resume", json={})
    assert (refused.status, "MISSING" in refused.json["detail"]) == (409, True)
    await post(state, f"/{uuid}/variables", {"variable_key": "MISSING", "variable_value": ""})
    assert (await post(state, f"/{uuid}/resume", {}))["resume_from_state"] == 21


async def test_state_at_which_the_project_resumes_nothing_is_refused(state: Shuttle, name: str):
    assert (await state.ask("POST", "/-/state/projects", json={"name": name})).status == 201
    path = f"/-/state/projects/{name}/resumable-states"
    assert (await state.ask("POST", path, json={"state_code": 20, "is_resumable": False})).status == 201
    uuid = await failed_build(state, name, name)
    refused = await state.ask("POST", f"{BUILDS}/{uuid}/resume", json={})
    assert (refused.status, "no build is resumed at this state" in refused.json["detail"]) == (409, True)
    assert (await post(state, f"/{uuid}/resume", {"resume_from_state": 10}))["resume_from_state"] == 10


async def test_state_after_a_skipped_one_has_its_own_requirements(state: Shuttle, name: str):
    """Before, only those of the skipped state counted, although the new build begins at the next one."""
    assert (await state.ask("POST", "/-/state/projects", json={"name": name})).status == 201
    path = f"/-/state/projects/{name}/resumable-states"
    for wanted in (
        {"state_code": 20, "resume_strategy": "skip_to_next"},
        {"state_code": 21, "required_artifacts": ["next"]},
    ):
        assert (await state.ask("POST", path, json=wanted)).status == 201
    uuid = await failed_build(state, name, name)
    refused = await state.ask("POST", f"{BUILDS}/{uuid}/resume", json={})
    assert (refused.status, "The artifact next is required" in refused.json["detail"]) == (409, True)
    await post(state, f"/{uuid}/artifacts", {"artifact_name": "next", "artifact_type": "ami"})
    assert (await post(state, f"/{uuid}/resume", {}))["resume_from_state"] == 21


async def test_required_artifact_that_has_expired_is_refused(state: Shuttle, name: str):
    """Before, the new build began without it: its owner deletes what has expired."""
    assert (await state.ask("POST", "/-/state/projects", json={"name": name})).status == 201
    path = f"/-/state/projects/{name}/resumable-states"
    assert (await state.ask("POST", path, json={"state_code": 20, "required_artifacts": ["base"]})).status == 201
    uuid = await failed_build(state, name, name)
    base = {"artifact_name": "base", "artifact_type": "ami", "expires_at": "2020-01-01T00:00:00Z"}
    await post(state, f"/{uuid}/artifacts", base)
    refused = await state.ask("POST", f"{BUILDS}/{uuid}/resume", json={})
    assert (refused.status, refused.json["detail"]) == (
        409,
        "The artifact base is required for resuming at this state, and has expired.",
    )
    longer = {"expires_at": "9999-01-01T00:00:00Z"}
    assert (await state.ask("PATCH", f"{BUILDS}/{uuid}/artifacts/base", json=longer)).status == 200
    assert (await post(state, f"/{uuid}/resume", {}))["resume_from_state"] == 20


async def test_unknown_request_is_not_found(state: Shuttle, name: str):
    uuid = (await post(state, "", {"build_number": name}))["id"]
    for key in ("none", uuid, "00000000-0000-4000-8000-000000000000"):
        assert (await state.get(f"/-/state/resume-requests/{key}")).status == 404
