"""Requests by packer over REST that packer itself must not build, and a password that must appear nowhere."""

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.contract.packerd.caller import Packerd
from tests.support.git_server import GitServer, git_server
from tests.support.inprocess import running_jenkins, running_shuttle
from tests.support.processes import files_of_processes
from tests.support.product import Product, running_product

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Other tests of this machine may have theirs on a command line.
PASSWORD = f"password-{uuid4()}"
POLL_SECONDS = 0.01
NULL = {"type": "null", "name": "docker-ubuntu", "communicator": "none"}
GREETING = {"type": "file", "name": "greeting", "content": "{{user `greeting`}}", "target": "greeting.txt"}
TEMPLATE: dict[str, Any] = {"variables": {"greeting": "hello"}, "builders": [NULL, GREETING]}
FAILING = TEMPLATE | {"provisioners": [{"type": "shell-local", "only": ["docker-ubuntu"], "inline": ["exit 3"]}]}
_NUMBERS = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def git(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GitServer]:
    async with git_server(tmp_path_factory.mktemp("git")) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def packerd(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Packerd]:
    folder = tmp_path_factory.mktemp("packerd")
    async with running_jenkins(folder) as jenkins, running_shuttle(folder, jenkins.url) as shuttle:
        yield Packerd(shuttle)


def served(git: GitServer, template: Any) -> str:
    """The URL of a new repository with this packer.json."""
    name = f"demo-{next(_NUMBERS)}"
    git.repository(name).commit({"packer.json": json.dumps(template)})
    return f"{git.url}/{name}.git"


def variables(**values: str) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


@pytest.mark.parametrize(
    ("template", "fields", "sentence"),
    [
        (TEMPLATE, {"buildonly": "typo"}, "no builder of the name typo; it has: docker-ubuntu, greeting."),
        (TEMPLATE, {"templatepath": "other.json"}, "The source has no other.json"),
        (FAILING, {}, "packer could not build docker-ubuntu: Script exited with non-zero exit status: 3"),
        (TEMPLATE, {"buildvars": variables(greeting="{{user}}")}, "packer"),
        (TEMPLATE | {"builders": []}, {}, "packer does not accept packer.json"),
    ],
    ids=["only", "template", "provisioner", "user", "no builders"],
)
async def test_request_that_packer_cannot_build_fails_and_says_why(
    packerd: Packerd, git: GitServer, template: Any, fields: dict[str, Any], sentence: str
):
    request_id = await packerd.build(served(git, template), **fields)
    over = await packerd.until_over(request_id)
    last = over["buildstages"][-1]
    assert (over["status"], last["name"], last["status"]) == ("failed", "RunPacker", "failed"), last
    assert sentence in last["log"]
    assert "artifacts" not in over


async def test_values_arrive_unchanged_and_undeclared_variables_are_named(packerd: Packerd, git: GitServer):
    value = "first 'line'\nsecond \"line\" \\n $HOME `id` ü"
    request_id = await packerd.build(served(git, TEMPLATE), buildvars=variables(greeting=value, undeclared="x"))
    over = await packerd.until_over(request_id)
    log = {stage["name"]: stage["log"] for stage in over["buildstages"]}["RunPacker"]
    assert over["status"] == "complete", log
    assert "declares no such variables, so packer does not get them: undeclared\n" in log
    [link] = over["artifacts"]
    assert (await packerd.shuttle.get(link["href"].removeprefix(packerd.shuttle.url))).body.decode() == value


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for the agent's temporary files; packer's sockets need a short path."""
    with TemporaryDirectory(prefix="short-", dir="/tmp") as folder:
        yield Path(folder)


@contextmanager
def command_lines() -> Iterator[set[bytes]]:
    """The command lines of all processes, which are read every POLL_SECONDS, as any user of the machine can."""
    seen: set[bytes] = set()
    over = threading.Event()

    def poll() -> None:
        while not over.wait(POLL_SECONDS):
            for path in files_of_processes("cmdline"):
                with suppress(OSError):  # the process has ended
                    seen.add(path.read_bytes())

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


async def test_password_of_a_variable_appears_nowhere(
    tmp_path: Path, git: GitServer, temporary: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TMPDIR", str(temporary))
    commands = [
        "echo login with $docker_repo_password, {{user `docker_repo_password`}}",
        'printf %s "$docker_repo_password" | sha256sum',
    ]
    login = {"type": "shell-local", "only": ["docker-ubuntu"], "inline": commands}
    template = TEMPLATE | {"variables": {"greeting": "hello", "docker_repo_password": ""}, "provisioners": [login]}
    async with running_product(tmp_path) as product:
        with command_lines() as lines:
            answers = await all_answers(product, served(git, template))
        over = json.loads(answers["run"])
        log = over["buildstages"][-3]["log"]
        assert over["status"] == "complete", log
        assert "login with [secret], [secret]\n" in log
        assert hashlib.sha256(PASSWORD.encode()).hexdigest() in log, "packer did get the password"
        assert any(b"\0-machine-readable\0" in line and b"packer\0build\0" in line for line in lines)
        assert [line for line in lines if PASSWORD.encode() in line] == []
        assert [name for name, answer in answers.items() if PASSWORD in answer] == []
        # Jenkins' parameters and config.xml, the workspace, the database, artifacts, the output of both services.
        files = [path for folder in (tmp_path, temporary) for path in folder.rglob("*") if path.is_file()]
        request_id = over["buildrequestid"]
        assert any(
            request_id.encode() in path.read_bytes() for path in files if path.is_relative_to(tmp_path / "jenkins")
        )
        assert "config.xml" in {path.name for path in files}
        assert [path for path in files if PASSWORD.encode() in path.read_bytes()] == []


async def all_answers(product: Product, giturl: str) -> dict[str, str]:
    """Build with the password; returns the texts of all answers about the build, the run under `run`."""
    base, session = f"{product.url}/-/packerd", product.session
    body = {"giturl": giturl, "branch": "main", "buildvars": variables(docker_repo_password=PASSWORD)}
    answers = {}
    async with session.post(f"{base}/build", json=body) as answer:
        answers["POST"] = await answer.text()
    href = json.loads(answers["POST"])[0]["href"]
    request_id = href.rpartition("/")[2]
    run = f"/build/responses/{request_id}/0"
    async with asyncio.timeout(30):
        while "run" not in answers or json.loads(answers["run"])["status"] not in {"complete", "failed"}:
            async with session.get(base + run) as answer:
                answers["run"] = await answer.text()
            await asyncio.sleep(0.05)
    stages = [f"{run}/stages/{stage['name']}" for stage in json.loads(answers["run"])["buildstages"]]
    own = ["/build/queue", href, f"/build/responses/{request_id}", f"{run}/stages", *stages]
    paths = [f"/-/packerd{path}" for path in [*own, *(f"{stage}?follow=true" for stage in stages)]]
    record = f"/-/state/builds/{request_id}"
    for path in [*paths, record, f"{record}/artifacts", f"{record}/variables", "/-/builds", "/metrics"]:
        async with session.get(product.url + path) as answer:
            assert answer.status == 200, path
            answers[path] = await answer.text()
    app = f"{product.url}/{json.loads(answers[record])['app_id']}/{request_id}"
    for path in (app, f"{app}/logs", f"{app}/stages", f"{app}/artifacts"):
        async with session.get(path) as answer:
            answers[path] = await answer.text()
    return answers
