"""`bldst` in this process against the service: one flow for each dialect of its command lines."""

import asyncio
import io
import json
import shlex
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bldst.__main__ import main
from shuttle.lifecycle.state_token import state_token
from tests.contract.state.conftest import CONTROLLER
from tests.support.inprocess import Shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Bldst:
    """Runs command lines with a home directory of its own; `prefix` begins the names of its variables."""

    def __init__(self, state: Shuttle, home: Path, prefix: str) -> None:
        settings = {"API_URL": f"{state.url}/-/state", "API_KEY": CONTROLLER}
        self._environment = {"HOME": str(home)} | {f"{prefix}_{name}": value for name, value in settings.items()}

    async def __call__(self, line: str, *, code: int = 0, **variables: str) -> Done:
        out, err = io.StringIO(), io.StringIO()
        run = partial(main, shlex.split(line), self._environment | variables, out, err, io.StringIO())
        done = Done(await asyncio.to_thread(run), out.getvalue().strip(), err.getvalue())
        assert done.code == code, (line, done)
        return done


@pytest.fixture
def bldst(state: Shuttle, tmp_path: Path) -> Callable[[str], Bldst]:
    return partial(Bldst, state, tmp_path)


def states_of(build: Any) -> list[tuple[int, str]]:
    return [(row["state"], row["status"]) for row in build["states"]]


async def test_lines_of_a_concourse_task(bldst: Callable[[str], Bldst], name: str):
    run = bldst("BLDST")
    await run("health check")
    await run(f"project create --name {name}")
    await run(f"platform create --name {name} --cloud-provider aws")
    [platform] = [each["id"] for each in (await run("platform list --output json")).json if each["name"] == name]
    create = f"build create --build-number {name} --project-id {name} --platform-id {platform} --output json"
    uuid = (await run(create)).json["id"]
    assert (await run(create)).json["id"] == uuid, "a repeated task"
    for code, status in ((10, "Preparing"), (25, "Packer runs")):
        await run(f"build add-state {uuid} --state {code} --status '{status}'")
    await run(f"build add-failure {uuid} --state 25 --type PACKER --message 'No quota'")
    build = (await run(f"build get {uuid} --output json")).json
    assert (build["status"], states_of(build)) == ("failed", [(10, "Preparing"), (25, "Packer runs")])
    assert [(row["state"], row["failure_type"]) for row in build["failures"]] == [(25, "PACKER")]
    await run('build create --build-number x --platform-id ""', code=2)


async def test_lines_of_a_jenkins_library(bldst: Callable[[str], Bldst], name: str):
    run = bldst("BUILDSTATE")
    created = await run(f"build create --name 'folder/{name}' --platform 'jenkins' --start-state '0' --metadata '{{}}'")
    title, uuid = created.out.split(": ")
    assert title == "Build ID"
    for code in (100, 500):
        await run(f"build update-state --build-id '{uuid}' --state-code '{code}' --message '--x'")
    await run(f"artifact create --build-id '{uuid}' --artifact-type 'ami' --artifact-location 'ami-1' --is-final")
    await run(f"variable set --build-id '{uuid}' --key 'password' --value 's3cret-value' --is-sensitive")
    assert (await run(f"variable get --build-id '{uuid}' --key 'password'")).out == "s3cret-value"
    [artifact] = (await run(f"artifact list --build-id '{uuid}'")).json
    assert (artifact["artifact_path"], artifact["is_final"], artifact["is_resumable"]) == ("ami-1", True, False)
    await run(f"build fail --build-id '{uuid}' --state-code '-1' --message '--m' --error-message '--m'")
    request = (await run(f"build resume --build-id '{uuid}' --from-state '100'")).json["resume_request"]
    assert request["build_number"] == f"folder/{name}-r1"
    await run(f"build update-state --build-id '{uuid}' --state-code '600'")
    await run(f"build complete --build-id '{uuid}' --state-code '999' --message 'done'")
    successor = (await run(f"build get --build-id '{request['id']}'")).json
    assert (successor["status"], successor["current_state"]) == ("completed", 999)


async def test_lines_of_a_packer_template(bldst: Callable[[str], Bldst], name: str):
    run = bldst("BLDST")
    created = await run(f"builds create --name {name} --image-type base --os-distribution ubuntu --format json")
    uuid = created.json["build_id"]
    await run(f"builds update-state --build-id {uuid} --state-code PROVISIONING --message 'Packages'")
    await run(f"build add-state {uuid} --state 48 --status 'Making the image'")
    await run(f"artifacts record {uuid} --type ami --path ami-1")
    await run(f"build add-state {uuid} --state 100")
    build = (await run(f"build get {uuid}")).json
    assert (build["status"], states_of(build)[:2]) == ("completed", [(0, "PROVISIONING"), (48, "Making the image")])


async def test_lines_of_a_readme(bldst: Callable[[str], Bldst], name: str):
    run = bldst("BLDST")
    uuid = (await run(f"build create --platform {name} --os rhel-9 --type base --id {name} --commit abc123")).out
    for code in (10, 50):
        await run(f"state update {uuid} --state {code} --message 'Step {code}'")
    assert (await run(f"state get {uuid}")).json["current_state"] == 50
    await run(f"failure record {uuid} --error 'It broke' --code TIMEOUT --component packer")
    [listed] = (await run(f"build list --platform {name} --limit 20")).json
    assert (listed["id"], listed["status"]) == (uuid, "failed")
    await run(f"state update {uuid} --state 60", code=1)


async def test_lines_of_a_script_that_is_resumed(bldst: Callable[[str], Bldst], name: str):
    run = bldst("BLDST")
    uuid = (await run(f"build create --build-number {name} --platform aws")).out
    for status in ("in_progress --message Creating", "completed", "completed"):
        await run(f"build update-state {uuid} --state 10 --status {status}")
    await run(f"variable set {uuid} vm_id=i-1 --state 10 --required-for-resume")
    await run(f"build update-state {uuid} --state 20 --status in_progress")
    await run(f"build record-failure {uuid} --state 20 --error 'A mirror is down' --retryable")
    assert states_of((await run(f"build get {uuid}")).json) == [(10, "completed"), (20, "in_progress")]
    context = (await run(f"build resume {uuid} --from-state 20 --reason 'It is up'")).json
    assert (context["last_successful_state"], context["variables"]) == (10, {"vm_id": "i-1"})
    assert "RESUME_FROM_STATE='20'" in (await run(f"build resume-context {uuid} -o env")).out
    for code in (20, 100):
        for status in ("in_progress", "completed"):
            await run(f"build update-state {uuid} --state {code} --status {status}")
    [request] = (await run(f"build resume-requests {uuid}")).json
    successor = (await run(f"build get {request['id']}")).json
    assert (successor["status"], states_of(successor)) == ("completed", [(20, "completed"), (100, "completed")])


async def test_file_of_a_checkpoint_is_stored_and_read_again(
    bldst: Callable[[str], Bldst], state: Shuttle, name: str, tmp_path: Path
):
    run = bldst("BLDST")
    uuid = (await run(f"build create --build-number {name}")).out
    disk = tmp_path / "disk 1.img"
    disk.write_bytes(b"bytes" * 100_000)
    own = {"X-API-Key": state_token(uuid, state.services.vault)}
    for key in (CONTROLLER, own["X-API-Key"]):
        await run(f"checkpoint {uuid} made --state 20 --artifact '{disk}' --var vm_id=i-1", BLDST_API_KEY=key)
    [artifact] = (await run(f"artifact list {uuid}")).json
    facts = ("artifact_name", "artifact_type", "size_bytes", "checksum", "state_code", "is_resumable")
    digest = sha256(disk.read_bytes()).hexdigest()
    assert [artifact[name] for name in facts] == ["disk 1.img", "file", 500_000, digest, 20, True]
    path = f"/-/state/builds/{uuid}/artifacts"
    for key in ("disk%201.img", artifact["id"]):
        read = await state.get(f"{path}/{key}/content", headers=own)
        assert (read.body == disk.read_bytes(), read.headers["ETag"]) == (True, f'"{digest}"')
    bearer = {"Authorization": f"Bearer {CONTROLLER}"}
    assert (await state.get(f"/default/{name}/artifacts/disk%201.img", headers=bearer)).body == disk.read_bytes()
    assert [variable["variable_key"] for variable in (await run(f"variable list {uuid}")).json] == ["vm_id"]
    assert (await run(f"build get {uuid}")).json["current_state"] == 20
