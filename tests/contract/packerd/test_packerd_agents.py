"""Builds through packer over REST on an agent with a stand-in for packer; tests/real has packer itself, curl and jq."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.contract.packerd.caller import Packerd
from tests.support.agent_programs import agent_programs
from tests.support.git_server import GitServer
from tests.support.inprocess import running_jenkins, running_shuttle
from tests.support.packer_program import packer_program

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The layout of packerd's demo repository; its docker builder is one that needs no daemon, beside one of a file.
DEMO = {
    "variables": {"docker_repo_server": None, "docker_repo_password": "", "version": ""},
    "builders": [
        {"type": "null", "name": "docker-ubuntu", "communicator": "none"},
        {"type": "file", "name": "notes", "content": "notes for {{user `version`}}", "target": "notes.txt"},
    ],
}
GIVEN = {"version": "0.21", "docker_repo_password": "hunter-2-hunter"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def packerd(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Packerd]:
    folder = tmp_path_factory.mktemp("agents")
    with agent_programs(folder, packer=packer_program()):
        async with running_jenkins(folder) as jenkins, running_shuttle(folder, jenkins.url) as shuttle:
            yield Packerd(shuttle)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def demo_url(git: GitServer) -> str:
    """A repository whose branch `demo` has the template."""
    git.repository("packerd-demo").commit({"packer.json": json.dumps(DEMO)}, "demo")
    return f"{git.url}/packerd-demo.git"


async def run_session(packerd: Packerd, giturl: str, given: dict[str, str]) -> dict[str, Any]:
    """The calls of packerd's README, whose later ones follow links of the earlier ones; returns the ended run."""
    assert (await packerd.get("/health")).json["status"] in {"ok", "poor", "bad"}
    fields = {"branch": "demo", "templatepath": "packer.json", "buildonly": "docker-ubuntu,notes"}
    body = {"giturl": giturl, **fields, "buildvars": [{"key": key, "value": given[key]} for key in given]}
    accepted = (await packerd.ask("POST", "/build", json=body)).json
    assert accepted[0] in (await packerd.get("/build/queue")).json
    run = (await packerd.get(accepted[0]["href"])).json["responselinks"][1]["href"]
    request_id = accepted[0]["href"].rpartition("/")[2]
    over = await packerd.until_over(request_id)
    assert (await packerd.get(run)).json == over
    for link in (await packerd.get(f"{run}/stages")).json:
        assert (await packerd.get(link["href"])).json in over["buildstages"]
    return over


async def test_build_ends_with_docker_clean_and_its_file_can_be_fetched(packerd: Packerd, demo_url: str):
    over = await run_session(packerd, demo_url, GIVEN | {"docker_repo_server": "registry.example.com"})
    stages = over["buildstages"]
    assert over["status"] == "complete", stages
    assert [stage["name"] for stage in stages] == [
        *("GitClone", "GitCheckout", "RunBerksVendor", "RunPacker", "KitchenTest", "DockerClean")
    ]
    assert {stage["status"] for stage in stages} == {"complete"}
    [link] = over["artifacts"]
    uploaded = await packerd.shuttle.get(link["href"].removeprefix(packerd.shuttle.url))
    assert uploaded.body == b"notes for 0.21"


@pytest.mark.slow
async def test_build_without_a_required_variable_names_it(packerd: Packerd, demo_url: str):
    over = await run_session(packerd, demo_url, GIVEN)
    assert over["status"] == "failed"
    last = over["buildstages"][-1]
    assert (last["name"], last["status"]) == ("RunPacker", "failed")
    assert "requires a value of: docker_repo_server;" in last["log"]


@pytest.mark.slow
async def test_template_calls_git_if_its_request_asks_for_the_git_folder(packerd: Packerd, git: GitServer):
    """Also in a further run."""
    template = {
        "builders": [{"type": "file", "name": "x", "target": "x", "content": "x"}],
        "provisioners": [{"type": "shell-local", "inline": ["git log --format=%H"]}],
    }
    work = git.repository("with-git")
    commit = work.commit({"packer.json": json.dumps(template)})
    giturl = f"{git.url}/with-git.git"
    request_id = await packerd.build(giturl, git=True)
    runs = [await packerd.until_over(request_id)]
    assert (await packerd.ask("POST", f"/build/queue/{request_id}")).status == 202
    runs.append(await packerd.until_over(request_id, run=1))
    for over in runs:
        assert over["status"] == "complete", over["buildstages"]
        assert f"    x: {commit}\n" in next(each["log"] for each in over["buildstages"] if each["name"] == "RunPacker")
    without = await packerd.until_over(await packerd.build(giturl, git=None))
    assert without["status"] == "failed"
