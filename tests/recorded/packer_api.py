"""The examples of docs/packer-api.md: every call of packer over REST."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from shuttle.lifecycle.packer_request import PackerRequest, app_of
from shuttle.web.packerd import PREFIX
from tests.contract.packerd.caller import PackerAgent, Packerd
from tests.recorded.recorder import Recorder
from tests.support.git_server import GitServer, git_server
from tests.support.inprocess import running_jenkins, running_shuttle

_REQUEST, _SECOND, _UNKNOWN = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "abc")
_HEALTH = '{"status":"ok","diskpercentfull":41,"goroutines":57}'
_SWAGGER = '{"swagger":"2.0","info":{"title":"packerd",…},"paths":{…},"definitions":{…}}'
_TEMPLATE = '{"builders": [{"type": "docker", "name": "docker-ubuntu"}]}'
_PACKER = b"""==> docker-ubuntu: Importing image: sha256:4c1e
==> docker-ubuntu: Repository: registry.example.com/org/role:0.21
"""


async def record(folder: Path) -> dict[str, str]:
    """Make every call to a service whose agent's calls are made here."""
    async with _servers(folder) as (packerd, git):
        calls = _Calls(packerd, git)
        await calls.request()
        await calls.run()
        await calls.again()
        await calls.refusals()
        await calls.service()
        return calls.examples


@asynccontextmanager
async def _servers(folder: Path) -> AsyncIterator[tuple[Packerd, GitServer]]:
    settings = {"SHUTTLE_JENKINS_AGENT_LABEL": "nowhere"}
    (folder / "git").mkdir()
    async with (
        git_server(folder / "git") as git,
        running_jenkins(folder) as jenkins,
        running_shuttle(folder, jenkins.url, **settings) as shuttle,
    ):
        yield Packerd(shuttle), git


class _Calls(Recorder):
    def __init__(self, packerd: Packerd, git: GitServer) -> None:
        super().__init__(packerd.shuttle, indents_long_json=True)
        self._packerd = packerd
        git.repository("packerd-demo").commit({"packer.json": _TEMPLATE}, "demo")
        self._giturl = f"{git.url}/packerd-demo.git"
        self.names[app_of(PackerRequest(self._giturl, branch="demo"))] = "packer-packerd-demo-1a2b3c4d"
        self.names[self._giturl] = "https://git.example.com/org/packerd-demo.git"

    async def say(self, name: str, method: str, path: str, body: Any = None, **shown: Any) -> Any:
        """A call below `/-/packerd`; returns the answer's JSON."""
        answer = await self.call(name, method, PREFIX + path, body, **shown)
        return answer.json if answer.body and not shown else None

    async def request(self) -> None:
        """A request, from its POST to the first look at its run."""
        await self.say("queue-empty", "GET", "/build/queue")
        body = {"giturl": self._giturl, "branch": "demo", "templatepath": "packer.json", "buildonly": "docker-ubuntu"}
        variables = [{"key": "version", "value": "0.21"}, {"key": "docker_repo_password", "value": "hunter-2-hunter"}]
        links = await self.say("build", "POST", "/build", {**body, "buildvars": variables})
        self._id = links[0]["href"].rpartition("/")[2]
        self.names[self._id] = _REQUEST
        self._run = f"/build/responses/{self._id}/0"
        await self.say("queue", "GET", "/build/queue")
        await self.say("request", "GET", f"/build/queue/{self._id}")
        await self.say("responses", "GET", f"/build/responses/{self._id}")

    async def run(self) -> None:
        """The run, with the calls that its agent makes."""
        agent = await self._packerd.agent(self._id)
        await agent.stage("RunBerksVendor", b"no Berksfile\n")
        await agent.begin("RunPacker")
        await agent.agent.push(_PACKER)
        await self._record_artifacts(agent)
        await agent.end("RunPacker")
        await agent.stage("KitchenTest", b"no .kitchen.yml\n")
        await agent.stage("DockerClean", b"removed sha256:4c1e\n")
        await agent.agent.end()
        over = await self._packerd.until_over(self._id)
        preamble = over["buildstages"][0]["log"] + over["buildstages"][1]["log"]
        for each in re.findall("sha256 ([0-9a-f]{64})", preamble):
            self.names[each] = "0123456789abcdef" * 4
        for each in re.findall("commit ([0-9a-f]{40})", preamble):
            self.names[each] = "46e99f2c0ffee0ddba11c0de5eed0b1a5ed5ca1e"
        await self.say("response", "GET", self._run)
        await self.say("stages", "GET", f"{self._run}/stages")
        await self.say("stage", "GET", f"{self._run}/stages/RunPacker")
        await self.call("stage-follow", "GET", f"{PREFIX}{self._run}/stages/RunPacker?follow=true")

    async def _record_artifacts(self, agent: PackerAgent) -> None:
        for kind, path in (
            ("packer.post-processor.docker-import", "sha256:4c1e"),
            ("packer.post-processor.docker-tag", "registry.example.com/org/role:0.21"),
        ):
            body = {"artifact_type": kind, "artifact_path": path, "is_final": True}
            answer = await self.shuttle.post(f"/-/state/builds/{self._id}/artifacts", body)
            assert answer.status == 201, answer.body
        assert (await agent.agent.ask("PUT", "artifacts/manifest.json", data=b"{}")).status in {200, 201}

    async def again(self) -> None:
        """One more run, and its stop."""
        await self.say("run-again", "POST", f"/build/queue/{self._id}")
        second = (await self._packerd.response(self._id, 1))["id"]
        self.names[second] = _SECOND
        await self.say("stop", "DELETE", f"/build/queue/{self._id}")
        await self._packerd.until_over(self._id, 1)
        await self.say("stop-again", "DELETE", f"/build/queue/{self._id}")

    async def refusals(self) -> None:
        """Requests that are refused."""
        await self.say("no-giturl", "POST", "/build", {"branch": "demo"})
        await self.say("bad-template", "POST", "/build", {"giturl": self._giturl, "templatepath": "../packer.json"})
        await self.say("unknown", "GET", f"/build/queue/{_UNKNOWN}")
        await self.say("short-id", "GET", "/build/queue/42")
        await self.say("no-stage", "GET", f"{self._run}/stages/Deploy")

    async def service(self) -> None:
        """The service itself."""
        await self.say("health", "GET", "/health", show_answer=_HEALTH)
        await self.say("swagger", "GET", "/swagger.json", show_answer=_SWAGGER)
