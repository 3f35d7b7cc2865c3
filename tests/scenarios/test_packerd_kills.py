"""Packer over REST when the shuttle is killed in each stage of a run, and after runs that fail.

packer, berks, kitchen and docker are stand-ins. GitCheckout is no stage of its own here: it is a part of the staging
that is killed in GitClone.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from tests.support.agent_programs import agent_programs
from tests.support.git_server import GitServer, git_server
from tests.support.packer_program import packer_program
from tests.support.product import Product, running_product

pytestmark = pytest.mark.asyncio(loop_scope="module")

OF_SOURCE = ("GitClone", "GitCheckout")
OF_AGENT = ("RunBerksVendor", "RunPacker", "KitchenTest", "DockerClean")
FAILURES = 6


@dataclass
class Stage:
    """The product, and the repositories of its requests."""

    product: Product
    git: GitServer

    @property
    def base(self) -> str:
        return f"{self.product.url}/-/packerd"

    async def build(self, name: str, **variables: str) -> str:
        """Ask for a build of the branch main of this repository; returns the href of its run."""
        given = [{"key": key, "value": value} for key, value in variables.items()]
        body = {"giturl": f"{self.git.url}/{name}.git", "branch": "main", "buildvars": given}
        async with self.product.session.post(f"{self.base}/build", json=body) as answer:
            assert answer.status == 202, await answer.text()
            return f"/build/responses/{(await answer.json())[0]['href'].rpartition('/')[2]}/0"

    async def until(self, run: str, condition: Any, seconds: float = 30) -> dict[str, Any]:
        """Wait until the condition is true of the run."""
        found: dict[str, Any] = {}
        try:
            async with asyncio.timeout(seconds):
                while True:
                    async with self.product.session.get(self.base + run) as answer:
                        assert answer.status == 200, await answer.text()
                        found = await answer.json()
                    if condition(found):
                        return found
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"still {found}") from None

    async def until_over(self, run: str) -> dict[str, Any]:
        return await self.until(run, lambda found: found["status"] in {"complete", "failed"})

    def gate(self, name: str) -> Path:
        """The file for which the stage waits."""
        return self.product.folder / f"{name}.gate"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("packerd-kills")
    (folder / "git").mkdir()
    programs = {"berks": "RunBerksVendor", "kitchen": "KitchenTest", "docker": "DockerClean"}
    texts = {name: f"#!/bin/sh\n{until_open(folder, stage)}\n" for name, stage in programs.items()}
    with agent_programs(folder, packer=packer_program(), **texts):
        async with (
            git_server(folder / "git") as git,
            running_product(folder, MAXIMUM_PARALLEL_BUILDS="5") as product,
        ):
            yield Stage(product, git)


def until_open(folder: Path, stage: str) -> str:
    """A command of a shell that waits for the gate of the stage."""
    return f"until [ -e {folder}/{stage}.gate ]; do sleep 0.05; done"


def template(*commands: str) -> str:
    """A docker builder before which these commands run."""
    docker = {"type": "docker", "name": "docker-ubuntu", "image": "base:1", "commit": True}
    tag = {"type": "docker-tag", "repository": "registry.example.com/org/role", "tag": ["0.21"]}
    provisioner = {"type": "shell-local", "inline": list(commands)}
    return json.dumps({"builders": [docker], "provisioners": [provisioner], "post-processors": [[tag]]})


@pytest.mark.timeout(180)  # five restarts, of which a busy machine needs 10 s for each
async def test_kill_in_every_stage_leaves_one_run_of_packer(stage: Stage):
    ran = stage.product.folder / "packer.ran"
    commands = (f"echo ran >>{ran}", until_open(stage.product.folder, "RunPacker"), "echo built once")
    files = {"packer.json": template(*commands), "Berksfile": "", ".kitchen.yml": ""}
    stage.git.repository("killed").commit(files)
    cloning, killed = asyncio.Event(), asyncio.Event()

    async def hold_first_clone(_request: web.Request) -> None:
        if not killed.is_set():
            cloning.set()
            await killed.wait()

    stage.git.fault = hold_first_clone
    run = await stage.build("killed")
    await cloning.wait()
    before = await stage.until(run, lambda found: found["buildstages"])
    assert [(each["name"], each["status"]) for each in before["buildstages"]] == [("GitClone", "running")]
    await stage.product.shuttle.kill()
    killed.set()
    await stage.product.shuttle.start()
    for number, name in enumerate(OF_AGENT):
        now = await stage.until(run, lambda found, name=name: is_running(found, name))
        assert now["id"] == before["id"]
        assert [each["name"] for each in now["buildstages"]] == [*OF_SOURCE, *OF_AGENT[: number + 1]]
        await stage.product.shuttle.kill()
        stage.gate(name).touch()  # the stage ends while the shuttle is away
        await stage.product.shuttle.start()
    over = await stage.until_over(run)
    logs = {each["name"]: each.get("log", "") for each in over["buildstages"]}
    assert (over["status"], list(logs)) == ("complete", [*OF_SOURCE, *OF_AGENT]), logs
    assert {each["status"] for each in over["buildstages"]} == {"complete"}
    assert "built once\n" in logs["RunPacker"]
    assert "Removing the images" in logs["DockerClean"]
    assert ran.read_text() == "ran\n"


def is_running(found: dict[str, Any], name: str) -> bool:
    """Whether this is the last stage of the run, and it runs. Raises AssertionError if the run is over."""
    assert found["status"] in {"pending", "running"}, found
    last = (found["buildstages"] or [{}])[-1]
    return (last.get("name"), last.get("status")) == (name, "running")


async def test_kill_right_after_the_answer_keeps_the_request(stage: Stage):
    stage.git.repository("recorded").commit({"packer.json": template("true")})
    for name in OF_AGENT:
        stage.gate(name).touch()
    run = await stage.build("recorded")
    await stage.product.shuttle.restart()
    assert (await stage.until_over(run))["status"] == "complete"


@pytest.mark.timeout(120)
async def test_good_build_runs_after_six_that_fail(stage: Stage):
    stage.git.repository("failing").commit({"packer.json": template("exit ${exit_status:-0}")})
    stage.gate("DockerClean").touch()
    failing = [await stage.build("failing", exit_status="3") for _ in range(FAILURES)]
    good = await stage.build("failing")
    assert (await stage.until_over(good))["status"] == "complete"
    for run in failing:
        over = await stage.until_over(run)
        assert (over["status"], over["buildstages"][-1]["name"]) == ("failed", "RunPacker")
