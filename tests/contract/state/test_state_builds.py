"""Records below `/-/state`: creating, reading, changing and ending them, as existing clients do."""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from shuttle.lifecycle.state_token import state_token
from shuttle.store.tables import builds
from tests.contract.state.conftest import CONTROLLER, READER
from tests.support.inprocess import Shuttle, script_request

pytestmark = pytest.mark.asyncio(loop_scope="module")

BUILDS = "/-/state/builds"
BEARER = {"Authorization": f"Bearer {CONTROLLER}"}
# What `bldst` 0.0.4 sends: every field, null where it is unset.
OF_CLIENT = {
    "project_id": None,
    "platform_id": None,
    "os_version_id": None,
    "image_type_id": None,
    "created_by": "ci",
    "concourse_pipeline_url": None,
    "concourse_job_name": None,
}


async def post(state: Shuttle, path: str, body: Any, **more: Any) -> Any:
    return await state.ask("POST", f"{BUILDS}{path}", json=body, **more)


async def new_build(state: Shuttle, name: str, **body: Any) -> str:
    answer = await post(state, "", {"build_number": name, **body})
    assert answer.status == 201, answer.text
    return str(answer.json["id"])


class Strict(BaseModel):
    """The fields and types that `bldst` 0.0.4 requires."""

    model_config = ConfigDict(strict=True, extra="ignore")

    id: str
    build_number: str
    project_id: str
    platform_id: str
    os_version_id: str
    image_type_id: str
    created_by: str
    current_state: int
    status: str
    start_time: str
    created_at: str
    updated_at: str
    platform: dict[str, Any]
    os_version: dict[str, Any]
    image_type: dict[str, Any]
    project: dict[str, Any]
    states: list[dict[str, Any]]
    failures: list[dict[str, Any]]


@pytest.mark.parametrize(
    "body",
    [
        OF_CLIENT,
        {"platform": "aws", "os_version": "rhel-9", "image_type": "base", "start_state": 10, "metadata": {"a": 1}},
        {"build_id": "x", "platform": "azure", "pipeline_url": "https://ci.example/1", "commit_hash": "abc"},
    ],
    ids=["client", "library", "curl"],
)
async def test_every_dialect_creates_a_record(state: Shuttle, name: str, body: dict[str, Any]):
    body = {**body, "build_number": name}
    answer = await post(state, "/", body)
    assert (answer.status, (await post(state, "", body)).status) == (201, 200)
    shown = Strict.model_validate(answer.json)
    assert (shown.build_number, shown.status) == (name, "running")
    assert answer.json["build_id"] == answer.json["id"]
    assert answer.json["platform"]["name"] == body.get("platform", "unspecified")
    assert answer.json["current_state"] == body.get("start_state", 0)
    assert (await post(state, "", {**body, "description": "another"})).status == 409


async def test_number_is_made_of_the_name_or_counted(state: Shuttle, name: str):
    assert (await post(state, "", {"name": name})).json["build_number"] == name
    counted = [(await post(state, "", {})).json["build_number"] for _ in range(2)]
    assert int(counted[1]) == int(counted[0]) + 1


async def test_webhooks_without_an_effect_are_named(state: Shuttle, name: str):
    """A record has no log that could be sent. Before, `logs` was dropped silently."""
    webhooks = {"status": [{"url": "https://h.example/s", "x": 1}], "logs": ["https://h.example/l"]}
    answer = await post(state, "", {"build_number": name, "metadata": {"webhooks": webhooks}, "surprise": 1})
    assert answer.status == 201
    ignored = answer.headers["Shuttle-Ignored-Fields"]
    assert ignored == "surprise, metadata.webhooks.logs, metadata.webhooks.status[0].x"


@pytest.mark.parametrize("number", ["folder/job/7", "a%2Fb", "100%", "back\\slash"])
async def test_number_that_is_no_id_is_shown_as_it_was_given(state: Shuttle, number: str):
    uuid = await new_build(state, number)
    found = await state.get(f"{BUILDS}/{quote(f'default/{number}', safe='')}")
    assert (found.json["id"], found.json["build_number"]) == (uuid, number)


@pytest.mark.parametrize(
    ("field", "value", "detail"),
    [
        ("platform_id", "nowhere", "Platform with id 'nowhere' not found"),
        ("project_id", "nothing", "Project with id 'nothing' not found"),
        ("image_type_id", "00000000-0000-4000-8000-000000000000", None),
    ],
)
async def test_creation_with_an_unknown_id_gets_404(
    state: Shuttle, name: str, field: str, value: str, detail: str | None
):
    answer = await post(state, "", {"build_number": name, field: value})
    assert answer.status == 404
    assert detail is None or answer.json == {"detail": detail}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"build_number": "x" * 129}, 422),
        ({"build_number": ""}, 422),
        ({"build_number": "."}, 400),
        ({"metadata": {"x": "y" * 65536}}, 422),
        ({"metadata": []}, 422),
        ({"start_state": 1000}, 422),
        ({"start_state": True}, 422),
        ({"metadata": {"webhooks": 7}}, 422),
    ],
)
async def test_bad_creation_is_refused(state: Shuttle, body: dict[str, Any], status: int):
    answer = await post(state, "", body)
    assert answer.status == status, answer.text
    assert list(answer.json) == ["detail"]


@pytest.mark.parametrize(
    ("hook", "steps"),
    [
        ("ftp://a/b", []),
        ("https://169.254.169.254/latest", []),
        ({"url": "failover(https://h.example/, http://[::ffff:a9fe:a9fe]/)"}, ["url"]),
        ({"url": "https://h.example/", "headers": {"X Y": "z"}}, ["headers", "X Y"]),
    ],
    ids=["scheme", "address", "member", "header"],
)
async def test_bad_webhook_of_a_record_is_named(state: Shuttle, name: str, hook: Any, steps: list[str]):
    """Before, an address that the service never connects to was accepted, and each of its statuses failed."""
    hooks = ["https://h.example/", hook]
    answer = await post(state, "", {"build_number": name, "metadata": {"webhooks": {"status": hooks}}})
    assert answer.status == 422
    assert answer.json["detail"][0]["loc"] == ["body", "metadata", "webhooks", "status", 1, *steps]
    assert (await state.get(f"{BUILDS}/default%2F{name}")).status == 404


async def test_metadata_is_returned_whatever_its_characters_are(state: Shuttle, name: str):
    metadata = {"é\U0001f600": "\ud800", "n": [1.5, None, True, 2**70]}
    uuid = await new_build(state, name)
    recorded = await post(state, f"/{uuid}/states", {"state": 10, "metadata": metadata})
    assert (recorded.status, recorded.json["metadata"]) == (201, metadata)


async def test_states_in_both_forms(state: Shuttle, name: str):
    uuid = await new_build(state, name)
    first = await post(state, f"/{uuid}/states", {"state": 10, "status": "in_progress", "artifact_storage_type": None})
    assert (first.status, first.json["state"], first.json["status"]) == (201, 10, "in_progress")
    second = await post(state, f"/{uuid}/state", {"state_code": "25", "message": "validated", "metadata": {"a": [1]}})
    assert (second.status, second.json["state"], second.json["metadata"]) == (200, 25, {"a": [1]})
    current = (await state.get(f"{BUILDS}/{uuid}/state")).json
    assert (current["current_state"], current["status"]) == (25, "running")
    assert [row["state"] for row in current["history"]] == [10, 25]
    assert current["history"] == (await state.get(f"{BUILDS}/{uuid}/states/")).json
    assert current["history"][0]["end_time"] is not None
    assert (await post(state, f"/{uuid}/states", {"state": 100, "status": "done"})).status == 201
    ended = (await state.get(f"{BUILDS}/{uuid}")).json
    assert (ended["status"], ended["current_state"]) == ("completed", 100)
    late = await post(state, f"/{uuid}/state", {"state_code": 30})
    assert (late.status, late.json) == (400, {"detail": "Cannot transition a completed or failed build."})


async def test_state_with_an_artifact(state: Shuttle, name: str):
    uuid = await new_build(state, name)
    left = {"artifact_storage_type": "s3", "artifact_storage_path": "s3://b/k", "artifact_size_bytes": 5}
    assert (await post(state, f"/{uuid}/states", {"state": 48, "status": "x", **left})).status == 201
    [artifact] = (await state.get(f"{BUILDS}/{uuid}/artifacts")).json
    assert (artifact["artifact_name"], artifact["artifact_path"]) == ("state-48", "s3://b/k")
    assert (artifact["state_code"], artifact["size_bytes"], artifact["is_resumable"]) == (48, 5, True)


async def test_state_that_is_tried_again_replaces_its_artifact(state: Shuttle, name: str):
    """Before, the second state was refused, because the build had an artifact of its name."""
    uuid = await new_build(state, name)
    for path, status in (("s3://b/1", "first try"), ("s3://b/2", "second try"), ("s3://b/2", "second try")):
        body = {"state": 48, "status": status, "artifact_storage_path": path}
        assert (await post(state, f"/{uuid}/states", body)).status == 201
    [artifact] = (await state.get(f"{BUILDS}/{uuid}/artifacts")).json
    assert (artifact["artifact_name"], artifact["artifact_path"]) == ("state-48", "s3://b/2")
    rows = (await state.get(f"{BUILDS}/{uuid}/states")).json
    assert [row["artifact_storage_path"] for row in rows] == ["s3://b/1", "s3://b/2"]


async def test_artifact_is_repeated_in_a_later_state(state: Shuttle, name: str):
    uuid = await new_build(state, name)
    body = {"artifact_name": "disk", "artifact_path": "s3://b/k"}
    first = await post(state, f"/{uuid}/artifacts", body)
    await post(state, f"/{uuid}/states", {"state": 48})
    again = await post(state, f"/{uuid}/artifacts", body)
    assert (first.status, again.status, again.json) == (201, 200, first.json)
    assert (await post(state, f"/{uuid}/artifacts", {**body, "state_code": 48})).status == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("states", {"state": 10, "status": "x", "artifact_size_bytes": 2**63, "artifact_storage_path": "s3://b/k"}),
        ("states", {"state": 10, "status": "x", "artifact_size_bytes": -1}),
        ("state", {"state_code": 10, "artifact_size_bytes": 10**30, "artifact_storage_path": "s3://b/k"}),
        ("states", {"state": 10, "status": "x", "retry_count": -1}),
        ("states", {"state": 10, "status": "x", "retry_count": 10**30}),
        ("artifacts", {"artifact_name": "x", "expires_at": "0001-01-01T00:00:00+23:00"}),
        ("artifacts", {"artifact_name": "x", "expires_at": "9999-12-31T23:59:59-23:00"}),
    ],
)
async def test_number_or_time_out_of_range_is_refused(state: Shuttle, name: str, path: str, body: dict[str, Any]):
    uuid = await new_build(state, name)
    refused = await post(state, f"/{uuid}/{path}", body)
    assert refused.status == 422, refused.text


@pytest.mark.parametrize("code", [1000, "1000", -2, 2.5, True, [1], "", "n" * 129, "a\0b"], ids=repr)
async def test_wrong_state_code_is_one_problem_of_its_field(state: Shuttle, name: str, code: Any):
    """Before, there were two, whose `loc` ended with the names of types in the service's code."""
    refused = await post(state, f"/{await new_build(state, name)}/state", {"state_code": code})
    assert refused.status == 422
    [problem] = refused.json["detail"]
    assert problem["loc"] == ["body", "state_code"]
    assert problem["msg"].endswith("write a number from -1 to 999, or a name of 1 to 128 characters without NUL")


@pytest.mark.parametrize("path", ["failures", "failure"])
async def test_failure_ends_a_record(state: Shuttle, name: str, path: str):
    uuid = await new_build(state, name, start_state=25)
    body = {"state": -1, "failure_type": "packer", "error_message": "It broke.", "error_details": {"a": 1}}
    answer = await post(state, f"/{uuid}/{path}", body)
    assert answer.status == (201 if path == "failures" else 200)
    assert (answer.json["state"], answer.json["resolved"]) == (25, False)
    build = (await state.get(f"{BUILDS}/{uuid}")).json
    assert (build["status"], build["reason"], build["message"]) == ("failed", "reported_failure", "It broke.")
    assert build["failures"] == (await state.get(f"{BUILDS}/{uuid}/failures")).json == [answer.json]


async def test_failure_that_is_retryable_is_no_repeat_of_one_that_is_not(state: Shuttle, name: str):
    uuid = await new_build(state, name)
    body = {"error_message": "There is no room.", "retryable": True}
    answers = [await post(state, f"/{uuid}/failures", {**body, "retryable": flag}) for flag in (True, True, False)]
    assert [answer.status for answer in answers] == [201, 201, 400]


async def test_put_of_the_current_state_with_another_text_is_recorded(state: Shuttle, name: str):
    """Before, the answer was 200, and the text was lost."""
    uuid = await new_build(state, name)
    for status in ("packing", "testing", "testing", "running"):
        changed = await state.ask("PUT", f"{BUILDS}/{uuid}", json={"current_state": 25, "status": status})
        assert (changed.status, changed.json["status"]) == (200, "running")
    assert [row["status"] for row in (await state.get(f"{BUILDS}/{uuid}/states")).json] == ["packing", "testing"]


async def test_fields_without_effect_are_named(state: Shuttle, name: str):
    uuid = await new_build(state, name)
    changed = await state.ask("PUT", f"{BUILDS}/{uuid}", json={"end_time": "now", "metadata": {}, "ami_id": None})
    assert changed.headers["Shuttle-Ignored-Fields"].split(", ") == ["end_time", "metadata"]
    recorded = await post(state, f"/{uuid}/states", {"state": 5, "start_time": "now", "message": None})
    assert recorded.headers["Shuttle-Ignored-Fields"] == "start_time"
    nulls = await state.ask("PUT", f"{BUILDS}/{uuid}", json={"end_time": None, "status": None})
    assert "Shuttle-Ignored-Fields" not in nulls.headers


async def test_put_with_nulls_changes_only_what_is_given(state: Shuttle, name: str):
    uuid = await new_build(state, name)
    nulls = {"current_state": None, "status": None, "end_time": None, "ami_id": "ami-1", "image_id": None}
    for method, body in (("PUT", nulls), ("PATCH", {"image_id": "i-2"})):
        assert (await state.ask(method, f"{BUILDS}/{uuid}", json=body)).status == 200
    build = (await state.get(f"{BUILDS}/{uuid}")).json
    assert (build["ami_id"], build["image_id"], build["status"]) == ("ami-1", "i-2", "running")
    for status, expected in (("completed", 200), ("completed", 200), ("failed", 400)):
        assert (await state.ask("PUT", f"{BUILDS}/{uuid}", json={"status": status})).status == expected


@pytest.mark.parametrize(("field", "noun"), [("project_id", "Project"), ("platform", "Platform")])
async def test_nul_in_the_query_of_the_list_finds_nothing(state: Shuttle, field: str, noun: str):
    """PostgreSQL takes no text with a NUL character: there the answer was 500 before."""
    missing = await state.get(f"{BUILDS}?{field}=a%00")
    assert (missing.status, missing.json) == (404, {"detail": f"{noun} not found"})


async def test_list_is_newest_first_and_filtered(state: Shuttle, name: str):
    uuids = [await new_build(state, f"{name}-{n}", platform=name) for n in range(3)]
    found = (await state.get(f"{BUILDS}?platform={name}&limit=5000")).json
    assert [each["id"] for each in found] == uuids[::-1]
    page = (await state.get(f"{BUILDS}/?platform={name}&skip=1&limit=1")).json
    assert [each["id"] for each in page] == [uuids[1]]
    await state.ask("PUT", f"{BUILDS}/{uuids[0]}", json={"status": "failed"})
    failed = (await state.get(f"{BUILDS}?platform={name}&status=failed&project_id=default")).json
    assert [each["id"] for each in failed] == uuids[:1]
    assert (await state.get(f"{BUILDS}?status=odd")).status == 422
    assert (await state.get(f"{BUILDS}?project_id=nothing")).status == 404


async def test_artifacts_are_listed_changed_and_hidden(state: Shuttle, name: str):
    uuid = await new_build(state, name)
    body = {"artifact_type": "ami", "artifact_location": "ami-1", "checksum_type": "md5", "checksum_value": "00"}
    first = await post(state, f"/{uuid}/artifacts", body)
    assert (first.status, first.json["artifact_name"], first.json["artifact_path"]) == (201, "ami", "ami-1")
    assert (first.json["checksum_algorithm"], first.json["is_final"]) == ("md5", False)
    assert (await post(state, f"/{uuid}/artifacts", body)).status == 200, "an equal repeat"
    second = await post(state, f"/{uuid}/artifacts", {**body, "artifact_location": "ami-2", "is_resumable": False})
    assert second.json["artifact_name"] == "ami-2"
    taken = await post(state, f"/{uuid}/artifacts", {**body, "artifact_name": "ami", "artifact_location": "other"})
    assert (taken.status, taken.json["detail"]) == (400, "Artifact with name 'ami' already exists for this build")
    path = f"{BUILDS}/{uuid}/artifacts/{first.json['id']}"
    changed = await state.ask("PATCH", path, json={"artifact_name": None, "is_final": True})
    assert (changed.json["is_final"], changed.json["artifact_name"]) == (True, "ami")
    resumable = (await state.get(f"{BUILDS}/{uuid}/artifacts?is_resumable=true")).json
    assert [each["id"] for each in resumable] == [first.json["id"]]
    assert (await state.ask("DELETE", path)).status == 204
    assert (await state.get(path)).json == {"detail": "Artifact not found"}
    assert (await post(state, f"/{uuid}/artifacts", body)).status == 201, "the name is free again"


async def test_artifact_takes_the_name_of_a_deleted_one(state: Shuttle, name: str):
    """Before, the database refused it, and the answer was a 500."""
    uuid = await new_build(state, name)
    for each in ("old", "new"):
        assert (await post(state, f"/{uuid}/artifacts", {"artifact_name": each, "artifact_type": "ami"})).status == 201
    path = f"{BUILDS}/{uuid}/artifacts"
    taken = await state.ask("PATCH", f"{path}/new", json={"artifact_name": "old"})
    assert (taken.status, taken.json["detail"]) == (400, "Artifact with name 'old' already exists for this build")
    assert (await state.ask("DELETE", f"{path}/old")).status == 204
    assert (await state.ask("PATCH", f"{path}/new", json={"artifact_name": "old"})).status == 200
    assert [each["artifact_name"] for each in (await state.get(path)).json] == ["old"]


async def test_the_name_of_a_deleted_file_stays_taken_because_its_bytes_stay_stored(state: Shuttle, name: str):
    """Before, a build could store any number of bytes: a reference of the same name took the file out of the sum."""
    uuid = await new_build(state, name)
    path = f"{BUILDS}/{uuid}/artifacts"
    assert (await state.ask("PUT", f"{path}/disk/content", data=b"bytes")).status == 201
    assert (await state.ask("DELETE", f"{path}/disk")).status == 204
    assert (await post(state, f"/{uuid}/artifacts", {"artifact_type": "ami"})).status == 201
    for refused in (
        await post(state, f"/{uuid}/artifacts", {"artifact_name": "disk", "artifact_type": "ami"}),
        await state.ask("PATCH", f"{path}/ami", json={"artifact_name": "disk"}),
    ):
        detail = "A deleted file had the name 'disk'; choose another name."
        assert (refused.status, refused.json["detail"]) == (400, detail)
    assert (await post(state, f"/{uuid}/artifacts", {"artifact_type": "disk"})).json["artifact_name"] == "disk-2"
    assert (await state.ask("PUT", f"{path}/disk/content", data=b"again")).status == 200


async def test_each_write_about_an_artifact_postpones_when_the_record_counts_as_abandoned(state: Shuttle, name: str):
    """Before, the deletion did not."""
    uuid = await new_build(state, name)
    newest = sa.select(builds.c.called_steady_at).where(builds.c.build_uuid == uuid)
    body = {"artifact_type": "ami", "artifact_location": "ami-1"}
    path = f"{BUILDS}/{uuid}/artifacts/{(await post(state, f'/{uuid}/artifacts', body)).json['id']}"
    calls = [await state.services.database.run(lambda tx: tx.execute(newest).scalar_one())]
    for method in ("PATCH", "DELETE"):
        await state.ask(method, path, json={"is_final": True})
        calls.append(await state.services.database.run(lambda tx: tx.execute(newest).scalar_one()))
    assert calls == sorted(set(calls))


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/states", {"state": 10, "status": "in_progress"}),
        ("POST", "/state", {"state_code": 10, "status": "in_progress"}),
        ("PUT", "", {"status": "running"}),
        ("PUT", "", {"current_state": 10}),
    ],
    ids=["states", "state", "status", "current state"],
)
async def test_call_that_changes_nothing_postpones_when_the_record_counts_as_abandoned(
    state: Shuttle, name: str, method: str, path: str, body: dict[str, Any]
):
    """Before, a record whose CI system only repeated its state ended as `record_abandoned` after a week."""
    uuid = await new_build(state, name)
    await post(state, f"/{uuid}/states", {"state": 10, "status": "in_progress"})
    newest = sa.select(builds.c.called_steady_at).where(builds.c.build_uuid == uuid)
    before = await state.services.database.run(lambda tx: tx.execute(newest).scalar_one())
    assert (await state.ask(method, f"{BUILDS}/{uuid}{path}", json=body)).status in {200, 201}
    assert await state.services.database.run(lambda tx: tx.execute(newest).scalar_one()) > before
    assert len((await state.get(f"{BUILDS}/{uuid}/states")).json) == 1


async def test_sensitive_variable_is_shown_only_to_those_who_may_read_it(state: Shuttle, name: str):
    uuid = await new_build(state, name)
    body = {"variable_key": "KEY", "variable_value": "s3cret-value", "is_sensitive": True}
    created = await post(state, f"/{uuid}/variables", body)
    assert (created.status, created.json["variable_value"]) == (201, "******")
    again = await post(state, f"/{uuid}/variables", {"variable_key": "KEY", "variable_value": "n3w-value"})
    assert (again.status, again.json["is_sensitive"]) == (200, True)
    for path in ("variables", "variables/dict"):
        assert "n3w-value" not in (await state.get(f"{BUILDS}/{uuid}/{path}")).text
    one = f"{BUILDS}/{uuid}/variables/KEY"
    assert (await state.get(one)).json["variable_value"] == "n3w-value"
    assert (await state.get(one, headers={"X-API-Key": READER})).json["variable_value"] == "******"
    await state.ask("PATCH", one, json={"is_required_for_resume": True, "is_sensitive": False})
    [required] = (await state.get(f"{BUILDS}/{uuid}/variables?required_for_resume=true")).json
    assert (required["variable_key"], required["is_sensitive"]) == ("KEY", True)
    assert (await post(state, f"/{uuid}/variables", {"variable_key": "dict"})).status == 400
    assert (await state.ask("DELETE", one)).status == 204
    assert (await state.get(one)).status == 404


async def test_jobs_are_named_and_changed(state: Shuttle, name: str):
    uuid = await new_build(state, name)
    job = await post(state, f"/{uuid}/jobs", {"platform": "concourse", "job": "build", "url": "https://ci/1"})
    assert (job.status, job.json["job_name"]) == (201, "build")
    path = f"{BUILDS}/{uuid}/jobs/{job.json['id']}"
    assert (await state.ask("PATCH", path, json={"status": "running"})).json["status"] == "running"
    assert [each["status"] for each in (await state.get(f"{BUILDS}/{uuid}/jobs")).json] == ["running"]


async def test_dashboard_counts(state: Shuttle, name: str):
    before = (await state.get("/-/state/dashboard/summary")).json
    uuid = await new_build(state, name, platform=name, start_state=77)
    after = (await state.get("/-/state/dashboard/summary")).json
    assert after["total_builds"] == before["total_builds"] + 1
    assert after["active_builds"] == before["active_builds"] + 1
    assert (after["builds_by_platform"][name], after["builds_by_state"]["77"]) == (1, 1)
    assert after["recent_builds"][0]["id"] == uuid
    recent = (await state.get("/-/state/dashboard/recent?limit=1")).json
    assert [each["id"] for each in recent] == [uuid]
    assert (await state.get(f"/-/state/dashboard/platform/{recent[0]['platform_id']}")).json[0]["id"] == uuid


async def test_each_platform_that_the_dashboard_counts_has_a_list(state: Shuttle, name: str):
    """Before, plain labels and `unspecified` were unknown."""
    await new_build(state, name, platform=name)
    await new_build(state, f"{name}-without")
    counts = (await state.get("/-/state/dashboard/summary")).json["builds_by_platform"]
    assert {name, "unspecified"} <= counts.keys()
    for platform, count in counts.items():
        listed = await state.get(f"/-/state/dashboard/platform/{platform}?limit=1000")
        assert (listed.status, len(listed.json)) == (200, count)
    assert (await state.get("/-/state/dashboard/platform/nothing")).status == 404


@pytest.mark.parametrize("number", ["", "x" * 129, "%2F" * 50], ids=["empty", "long", "escaped"])
async def test_number_that_no_build_has_is_unknown(state: Shuttle, number: str):
    """Before, it was a 400 if no record can have it."""
    assert (await state.get(f"{BUILDS}/default%2F{quote(number, safe='')}")).status == 404


async def test_build_is_found_by_an_id_that_is_too_long_with_escapes(state: Shuttle, name: str):
    build_id = f"{'x' * 100}%{'y' * 27}"
    path = f"/{name}/{quote(build_id)}"
    assert (await state.post(path, script_request(), headers=BEARER)).status == 200
    found = await state.get(f"{BUILDS}/{quote(f'{name}/{build_id}', safe='')}")
    assert (found.status, found.json["app_id"]) == (200, name)


@pytest.mark.parametrize(
    ("path", "given", "shown"),
    [
        ("/failures", {"state": None, "state_code": 25, "error_message": "It broke."}, {"state": 25}),
        ("/artifacts", {"artifact_type": "x", "artifact_path": None, "artifact_location": "y"}, {"artifact_path": "y"}),
        ("/artifacts", {"artifact_type": "x", "checksum": None, "checksum_value": "y"}, {"checksum": "y"}),
        ("/jobs", {"pipeline_name": None, "pipeline": "y", "job_number": 7}, {"pipeline_name": "y", "job_number": "7"}),
    ],
)
async def test_null_leaves_the_other_name_of_a_field(
    state: Shuttle, name: str, path: str, given: dict[str, Any], shown: dict[str, Any]
):
    """Before, the null of the first name counted, and job numbers had to be texts."""
    found = await post(state, f"/{await new_build(state, name)}{path}", given)
    assert found.status == 201, found.text
    assert shown.items() <= found.json.items()


async def test_state_token_opens_its_build_and_its_children_only(state: Shuttle, name: str):
    own, other = await new_build(state, name), await new_build(state, f"{name}-other")
    token = {"X-API-Key": "", "Authorization": f"Bearer {state_token(own, state.services.vault)}"}
    child = await post(state, "", {"build_number": f"{name}-aws", "platform": "aws"}, headers=token)
    assert (child.status, child.json["parent_id"]) == (201, own)
    for uuid, status in ((own, 201), (child.json["id"], 201), (other, 403)):
        assert (await post(state, f"/{uuid}/states", {"state": 5, "status": "x"}, headers=token)).status == status
        read = await state.get(f"{BUILDS}/{uuid}", headers=token)
        assert read.status == (200 if status == 201 else 403)
    assert (await state.get(BUILDS, headers=token)).status == 403, "not the builds of others"
    assert [each["id"] for each in (await state.get(f"{BUILDS}/{own}")).json["children"]] == [child.json["id"]]
    await state.ask("PUT", f"{BUILDS}/{own}", json={"status": "completed"})
    assert (await post(state, f"/{own}/variables", {"variable_key": "A"}, headers=token)).status == 401, "it is over"
    forged = {"X-API-Key": state_token(other, state.services.vault).replace(other, own)}
    assert (await state.get(f"{BUILDS}/{own}", headers=forged)).status == 401


async def test_record_sends_statuses_and_is_in_the_lists_of_the_shuttle(state: Shuttle, name: str):
    uuid = await new_build(state, name, project_id=None)
    long = (await state.get(f"/default/{name}", headers=BEARER)).json
    assert (long["build_uuid"], long["state"], long["api"]) == (uuid, "running", "record")
    await asyncio.gather(*(post(state, f"/{uuid}/state", {"state_code": n}) for n in range(1, 6)))
    assert (await state.ask("DELETE", f"/default/{name}", headers=BEARER)).status == 200
    assert (await state.get(f"{BUILDS}/{uuid}")).json["reason"] == "stopped"
    log = await state.get(f"/default/{name}/logs?follow=true", headers=BEARER)
    assert "stopped on request" in log.text
