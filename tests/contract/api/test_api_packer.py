"""Builds of the pipeline packer-image, from a request to the artifacts in the build's record."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.agent_programs import agent_programs
from tests.support.git_server import git_server
from tests.support.inprocess import Shuttle, running_jenkins, running_shuttle
from tests.support.packer_program import DIGEST, IMAGE, packer_program
from tests.support.product import data_url

pytestmark = pytest.mark.asyncio(loop_scope="module")

TAGGED = "127.0.0.1:5000/org/role:0.21"
SECRET, SHORT_LIVED = "s3cr3t-of-the-registry", "another-s3cr3t"
TEMPLATE = """{
  "variables": {"repository": null, "password": "", "my-name": "", "build_uuid": ""},
  "builders": [
    {"type": "docker", "name": "docker-ubuntu", "image": "base:1", "commit": true},
    {"type": "file", "name": "text", "target": "t",
     "content": "{{user `password`}} {{user `my-name`}} {{user `build_uuid`}}"}
  ],
  "provisioners": [{"type": "shell-local", "only": ["text"], "inline": ["echo $password and {{user `my-name`}}"]}],
  "post-processors": [[
    {"type": "docker-tag", "repository": "{{user `repository`}}", "tag": ["0.21"]}, {"type": "docker-push"}
  ]]
}"""
REQUEST: dict[str, Any] = {
    "source": {"url": data_url({"packer.json": TEMPLATE})},
    "arguments": {"repository": "127.0.0.1:5000/org/role", "password": SECRET},
    "secret_arguments": ["password"],
    "pipeline": {
        "name": "packer-image",
        "options": {"variables": {"my-name": SHORT_LIVED}, "secret_variables": ["my-name"]},
    },
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shuttle(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    folder = tmp_path_factory.mktemp("packer")
    docker = '#!/bin/sh\n[ "$1" = rmi ] && echo "Untagged: $2"\n'
    with agent_programs(folder, packer=packer_program(), docker=docker):
        async with running_jenkins(folder) as jenkins, running_shuttle(folder, jenkins.url) as running:
            yield running


def _has(path: Path, secret: str) -> bool:
    return secret.encode() in path.read_bytes()


async def test_build_with_its_file_its_references_and_its_image(shuttle: Shuttle):
    answer = await shuttle.post("/packer/1", REQUEST)
    assert answer.status == 200, answer.body
    build = await shuttle.until("/packer/1")
    log = (await shuttle.whole_log("/packer/1")).decode()
    assert build["state"] == "succeeded", log
    assert (build["image"], build["digest"]) == (TAGGED, DIGEST)
    file = await shuttle.get("/packer/1/artifacts/t")
    assert file.body.decode() == f"{SECRET} {SHORT_LIVED} {build['build_uuid']}"
    listed = (await shuttle.get(f"/-/state/builds/{build['build_uuid']}/artifacts")).json
    references = {one["artifact_path"]: one for one in listed if one["storage_backend"] != "shuttle"}
    assert set(references) == {IMAGE, TAGGED}
    tagged = references[TAGGED]
    assert (tagged["artifact_type"], tagged["state_code"]) == ("packer.post-processor.docker-tag", 50)
    assert tagged["is_final"] is True
    stages = [(stage["stage"], stage["state"], stage["status"]) for stage in build["stages"][2:]]
    assert stages == [
        ("RunBerksVendor", 20, "succeeded"),
        ("RunPacker", 25, "succeeded"),
        ("KitchenTest", 75, "succeeded"),
        ("DockerClean", 95, "succeeded"),
    ]
    assert f"Untagged: {TAGGED}\n" in log


@pytest.mark.slow
async def test_secrets_are_masked_and_appear_in_no_answer(shuttle: Shuttle):
    await shuttle.post("/packer/secrets", REQUEST)
    await shuttle.until("/packer/secrets")
    log = (await shuttle.whole_log("/packer/secrets")).decode()
    assert "text: [secret] and [secret]\n" in log
    answer = (await shuttle.get("/packer/secrets")).body.decode()
    for secret in (SECRET, SHORT_LIVED):
        assert secret not in log + answer
        # The template writes both into its file.
        found = [path for path in (shuttle.data / "objects").rglob("*") if path.is_file() and _has(path, secret)]
        assert all("artifacts" in str(path) for path in found), found


@pytest.mark.parametrize(
    ("field", "options", "source"),
    [
        ("template", {"template": "../packer.json"}, REQUEST["source"]),
        ("git", {"git": True}, REQUEST["source"]),
        ("git", {"git": True}, {"url": "git+https://h.example/a", "subdir": "b"}),
    ],
)
async def test_wrong_option_is_refused(shuttle: Shuttle, field: str, options: dict[str, Any], source: dict[str, Any]):
    pipeline = {"name": "packer-image", "options": options}
    refused = await shuttle.post("/packer/2", REQUEST | {"pipeline": pipeline, "source": source})
    assert (refused.status, refused.json["field"]) == (400, f"pipeline.options.{field}")


@pytest.mark.slow
async def test_template_calls_git_in_a_source_that_has_its_git_folder(shuttle: Shuttle, tmp_path: Path):
    """Also in a rebuild with the newest commit of the branch."""
    template: dict[str, Any] = {"builders": [{"type": "file", "name": "x", "target": "x", "content": "x"}]}
    inline = ["git log --format=%H", "git status --short"]
    template["provisioners"] = [{"type": "shell-local", "inline": inline}]
    async with git_server(tmp_path) as server:
        work = server.repository()
        commits = [work.commit({"packer.json": json.dumps(template)}), work.commit({"a": "1"})]
        pipeline = {"name": "packer-image", "options": {"git": True}}
        request = {"source": {"url": f"{server.url}/shop.git#main"}, "pipeline": pipeline}
        assert (await shuttle.post("/packer/git", request)).status == 200
        build = await shuttle.until("/packer/git")
        commits.append(work.commit({"a": "2"}))
        assert (await shuttle.post("/packer/git/rebuild", {"build_id": "again", "latest": True})).status == 200
        again = await shuttle.until("/packer/again")
    for path, ended, expected in (("/packer/git", build, commits[:2]), ("/packer/again", again, commits)):
        log = (await shuttle.whole_log(path)).decode()
        assert ended["state"] == "succeeded", log
        assert "".join(f"    x: {commit}\n" for commit in reversed(expected)) + "Build 'x' finished" in log


# The first build leaves a file and a secret, and fails; the build that resumes it uses both.
STEPS = """set -eu
curl -fsS -o report.sh "$BLDST_API_URL/report.sh"
. ./report.sh
if [ -z "${RESUME_MODE-}" ]; then
  echo bytes >disk.img
  checkpoint disk 22 disk.img vm_id=i-1
  report_post variables '{"variable_key": "password", "variable_value": "PASSWORD", "is_sensitive": true}'
  exit 3
fi
cat resume/disk.img resume/variables/vm_id
grep -c PASSWORD resume/variables/password
""".replace("PASSWORD", SECRET)


@pytest.mark.slow
async def test_template_of_a_resumed_build_finds_what_the_failed_build_has_left(shuttle: Shuttle):
    """And nothing of it is uploaded, not even by a pattern that matches every file: variables may be secret."""
    template: dict[str, Any] = {"builders": [{"type": "file", "name": "x", "target": "x", "content": "x"}]}
    template["provisioners"] = [{"type": "shell-local", "inline": ["sh steps.sh"]}]
    source = {"url": data_url({"packer.json": json.dumps(template), "steps.sh": STEPS})}
    pipeline = {"name": "packer-image", "options": {"keep": ["[!p]*", "."]}}
    assert (await shuttle.post("/packer/failed", {"source": source, "pipeline": pipeline})).status == 200
    failed = await shuttle.until("/packer/failed")
    assert failed["state"] == "failed"
    assert (await shuttle.post("/packer/resumed", {"resume_from": {"build_id": "failed"}})).status == 200
    resumed = await shuttle.until("/packer/resumed")
    log = (await shuttle.whole_log("/packer/resumed")).decode()
    assert resumed["state"] == "succeeded", (await shuttle.whole_log("/packer/failed")).decode() + log
    assert "    x: bytes\n" in log
    assert "    x: i-1" in log
    assert log.count("-----> Not uploaded, because it is of the build that is resumed: resume\n") == 2
    names = {artifact["name"] for artifact in resumed["artifacts"]}
    assert "steps.sh" in names
    assert not [name for name in names if name.startswith("resume")]
