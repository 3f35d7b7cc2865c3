"""The examples of docs/api.md: every call of the API, what receivers get, and the calls of an agent."""

import asyncio
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.contract.agent_caller import Agent, agent_of
from tests.recorded.recorder import Recorder
from tests.support.archives import entry, tar
from tests.support.inprocess import Jenkins, Shuttle, running_jenkins, running_shuttle
from tests.support.receivers import Exchange, Receiver

_BUILD_SH = """#!/bin/sh
echo "  compiling shop $VERSION"
echo "logging in with $API_KEY"
mkdir dist
echo "shop $VERSION" >dist/shop.txt
"""
_BAKE_SH = """#!/bin/sh
echo "an image for $PLATFORM"
[ -z "$ZONE" ]
"""
_SOURCE = tar(entry("shop-42/build.sh", _BUILD_SH.encode(), mode=0o755))
_UUIDS = {number: f"{letter * 8}-0000-4000-8000-000000000000" for number, letter in ((42, "a"), (43, "b"), (44, "c"))}
_SHA256 = "0123456789abcdef" * 4
_CONTROLLER, _READER = "controller-token-0001", "reader-token-0000001"
_HOOK_SECRET = "secret-of-the-webhook"
_SETTINGS = {
    "SHUTTLE_TOKENS": f"controller:{_CONTROLLER},reader:{_READER}",
    "SHUTTLE_HOOK_SECRET": _HOOK_SECRET,
    "SHUTTLE_REPLICA_NAME": "shuttle-0",
}


async def record(folder: Path) -> dict[str, str]:
    """Make every call of callers to a service that builds, and those of an agent to one without a Jenkins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shuttle.web.readiness._CACHE_SECONDS", 0)
        async with (
            running_jenkins(folder) as jenkins,
            running_shuttle(folder, jenkins.url, **_SETTINGS) as shuttle,
            Receiver() as statuses,
            Receiver() as logs,
        ):
            shuttle.headers = _bearer(_CONTROLLER)
            callers = _Callers(shuttle, jenkins, statuses, logs)
            await callers.build()
            await callers.read()
            await callers.repeat_and_refuse()
            await callers.git_webhooks()
            await callers.stop()
            await callers.lists_and_deliveries()
            await callers.platforms()
            await callers.health()
            await callers.rebuild()
            await callers.prune()
    async with running_shuttle(folder / "without-jenkins") as shuttle:
        agents = _Agents(shuttle, indents_long_json=True)
        await agents.build()
    return callers.examples | agents.examples


class _Callers(Recorder):
    def __init__(self, shuttle: Shuttle, jenkins: Jenkins, statuses: Receiver, logs: Receiver) -> None:
        super().__init__(shuttle, indents_long_json=True)
        self._jenkins = jenkins
        self._statuses = statuses
        self._logs = logs
        self.names |= {
            f"127.0.0.1:{jenkins.port}": "ci1.example.com",
            f"127.0.0.1:{statuses.port}": "app.example.com",
            f"127.0.0.1:{logs.port}": "log.example.com",
        }

    async def build(self) -> None:
        """A build from its POST to its last status; its source waits until the test has read the first status."""
        status_read = asyncio.Event()

        async def source(exchange: Exchange) -> None:
            await (status_read if exchange.target.endswith("42.tar") else asyncio.Event()).wait()
            await exchange.answer(200, {"Content-Type": "application/x-tar"}, _SOURCE)

        self._code = Receiver(source)
        await self._code.__aenter__()
        self.names[f"127.0.0.1:{self._code.port}"] = "src.example.com"
        self._request = self._whole_request()
        await self.call("post", "POST", "/shop/42", self._request)
        await self.call("status-queued", "GET", "/shop/42/status")
        status_read.set()
        build = await self.shuttle.until_shown("/shop/42", _is_reported, seconds=60)
        await self.shuttle.until_settled(build["build_uuid"])
        self.names |= {build["build_uuid"]: _UUIDS[42], build["log"]["sha256"]: _SHA256}
        for name, exchange in zip(("queued", "pending", "succeeded"), self._statuses.exchanges, strict=True):
            self.keep_request(f"receiver-{name}", exchange)
        self.keep_request("receiver-log", self._logs.exchanges[0])

    async def read(self) -> None:
        """Everything that can be read of the build."""
        uuid = (await self.call("build", "GET", "/shop/42")).json["build_uuid"]
        await self.call("status-succeeded", "GET", "/shop/42/status")
        await self.call("logs", "GET", "/shop/42/logs")
        await self.call("logs-offset", "GET", "/shop/42/logs?offset=20&follow=true")
        await self.call("logs-range", "GET", "/shop/42/logs", headers={"Range": "bytes=0-13"})
        await self.call("logs-head", "HEAD", "/shop/42/logs")
        await self.call("logs-beyond", "GET", "/shop/42/logs?offset=100000")
        await self.call("stages", "GET", "/shop/42/stages")
        await self.call("logs-stage", "GET", "/shop/42/logs?stage=build&follow=true")
        await self.call("artifacts", "GET", "/shop/42/artifacts")
        await self.call("artifact", "GET", "/shop/42/artifacts/shop.txt")
        await self.call("source", "GET", f"/{uuid}")

    async def rebuild(self) -> None:
        """The same source once more; it is the last call, because the new build would be in every list."""
        again = await self.call("rebuild", "POST", "/shop/42/rebuild", {"build_id": "42-again"})
        self.names[again.json["build_uuid"]] = "eeeeeeee-0000-4000-8000-000000000000"

    async def prune(self) -> None:
        """No app of that pipeline is idle."""
        await self.call("apps-prune", "POST", "/-/apps/prune?pipeline=packer-image&idle_seconds=2592000")

    async def platforms(self) -> None:
        """A build for two platforms, of which one fails."""

        async def source(exchange: Exchange) -> None:
            content = tar(entry("build.sh", _BAKE_SH.encode(), mode=0o755))
            await exchange.answer(200, {"Content-Type": "application/x-tar"}, content)

        async with Receiver(source) as code:
            self.names[f"127.0.0.1:{code.port}"] = "src.example.com"
            request = {
                "source": {"url": f"{code.url}/images.tar"},
                "pipeline": "script",
                "platforms": ["aws", {"name": "gcp", "arguments": {"ZONE": "b"}}],
            }
            await self.call("post-platforms", "POST", "/images/7", request)
            build = await self.shuttle.until("/images/7")
        for letter, child in zip("df", build["children"], strict=True):
            self.names[child["build_uuid"]] = f"{letter * 8}-0000-4000-8000-000000000000"
        self.keep("children", json.dumps({"children": build["children"]}, indent=2) + "\n")
        await self.call("post-bad-platform", "POST", "/images/8", {**request, "platforms": ["aws", "aws"]})

    async def repeat_and_refuse(self) -> None:
        """The repeated request, and requests that are refused."""
        again = self._request
        await self.call("post-again", "POST", "/shop/42", again, show_body=False)
        await self.call("post-other-body", "POST", "/shop/42", again | {"labels": {}}, show_body=False)
        await self.call("post-bad-field", "POST", "/shop/43", {"source": {"url": "ftp://src.example.com/a.tar"}})
        text = b'{"source": {"url": "https://src.example.com/a.tar"},}'
        await self.call("post-bad-json", "POST", "/shop/43", text, headers={"Content-Type": "application/json"})
        await self.call("build-unknown", "GET", "/shop/99")
        self.shuttle.headers = {}
        await self.call("no-token", "GET", "/shop/42")
        self.shuttle.headers = _bearer(_READER)
        await self.call("small-role", "DELETE", "/shop/42")
        self.shuttle.headers = _bearer(_CONTROLLER)

    async def git_webhooks(self) -> None:
        """A push that GitHub reports, and one with another secret that GitLab reports."""
        push = b'{"ref":"refs/heads/main","repository":{"clone_url":"https://git.example.com/org/shop.git"}}'
        signature = "sha256=" + hmac.new(_HOOK_SECRET.encode(), push, "sha256").hexdigest()
        json_type = {"Content-Type": "application/json"}
        self.shuttle.headers = {}
        github = json_type | {"X-GitHub-Event": "push", "X-Hub-Signature-256": signature}
        await self.call("git-hook", "POST", "/-/hooks/git", push, headers=github)
        gitlab = json_type | {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": "another-secret"}
        await self.call("git-hook-wrong-secret", "POST", "/-/hooks/git", push, headers=gitlab, show_body=False)
        self.shuttle.headers = _bearer(_CONTROLLER)

    async def stop(self) -> None:
        """A build with an unknown field and a short secret, stopped while it waits for its source."""
        request = {
            "source": {"url": f"{self._code.url}/shop-43.tar"},
            "pipeline": "script",
            "arguments": {"PIN": "1234"},
            "secret_arguments": ["PIN"],
            "colour": "blue",
        }
        await self.call("post-warnings", "POST", "/shop/43", request)
        build = await self.shuttle.until("/shop/43", "staging")
        self.names[build["build_uuid"]] = _UUIDS[43]
        await self.call("delete", "DELETE", "/shop/43")
        await self.shuttle.until("/shop/43")
        await self.call("delete-again", "DELETE", "/shop/43")
        await self._code.__aexit__(None, None, None)

    async def lists_and_deliveries(self) -> None:
        """Builds and deliveries, newest first."""
        await self.call("app", "GET", "/shop?limit=1")
        await self.call("builds", "GET", "/-/builds?state=succeeded&limit=1")
        await self.call("apps-idle", "GET", "/-/apps/idle?pipeline=script&idle_seconds=0")
        await self.call("deliveries", "GET", "/-/deliveries?app_id=shop&build_id=42&state=delivered")
        await self.call("replay-one", "POST", "/-/deliveries/3/replay")
        await self.call("replay", "POST", "/-/deliveries/replay?app_id=shop")

    async def health(self) -> None:
        """The probes, with Jenkins and without."""
        await self.call("healthz", "GET", "/healthz")
        await self.call("readyz", "GET", "/readyz")
        self.names[self.shuttle.services.database.instance] = "5b0d9a4e-2f0c-4a57-8a63-c1f7e1d9b0aa"
        await self.call("replicas", "GET", "/-/replicas")
        await self.call("metrics", "GET", "/metrics", show_answer="…")
        await self.call("openapi", "GET", "/-/openapi.json", show_answer="…")
        await self._jenkins.stop()
        await self.call("readyz-without-jenkins", "GET", "/readyz")

    def _whole_request(self) -> dict[str, Any]:
        return {
            "source": {"url": f"{self._code.url}/shop-42.tar"},
            "pipeline": "script",
            "arguments": {"VERSION": "42", "API_KEY": "correct-horse-battery"},
            "secret_arguments": ["API_KEY"],
            "webhooks": {"status": f"{self._statuses.url}/builds", "logs": f"{self._logs.url}/logs"},
            "metadata": {"order": 4711},
            "human_readable_info": "the shop, release 42",
            "labels": {"team": "shop"},
            "timeout_seconds": 600,
        }


class _Agents(Recorder):
    async def build(self) -> None:
        """The calls of a supervisor, in their order."""
        await self.shuttle.submit("/shop/44", "make test")
        agent = await agent_of(self.shuttle, "/shop/44")
        self.names[agent.uuid] = _UUIDS[44]
        await agent.handed_to_jenkins()
        claim = {"number": 1, "nonce": "nonce-of-an-attempt-1"}
        answer = await self._call(agent, "claim", "POST", "claim", agent.token, claim)
        setup, run = answer.json["setup_token"], answer.json["run_token"]
        for kind, token in (("build", agent.token), ("setup", setup), ("run", run)):
            self.names[token] = f"{kind}-token".ljust(len(token), "-")
        await self._call(agent, "environment", "GET", "environment", setup, show_answer="(a tar.gz)")
        await self._call(agent, "source", "GET", "source.tar.gz", setup, show_answer="(a tar.gz)")
        left = "resume/00000000-0000-4000-8000-000000000009"
        await self._call(agent, "resume", "GET", left, setup)
        await self._call(agent, "begin", "POST", "begin", setup)
        stage = {"id": "main.build.begin", "stage": "build", "event": "begin", "state": 20, "offset": 0}
        await self._call(agent, "progress", "POST", "progress", run, stage)
        raw = {"Content-Type": "application/octet-stream"}
        await self._call(agent, "log", "POST", "log?stream=main&offset=0", run, b"2 tests failed\n", headers=raw)
        await self._call(agent, "log-gap", "POST", "log?stream=main&offset=99", run, b"more\n", headers=raw)
        text = {"Content-Type": "text/plain"}
        await self._call(agent, "put-artifact", "PUT", "artifacts/report.txt", run, b"2 of 40 failed\n", headers=text)
        report = {"id": "end", "reason": "tests_failed", "message": "2 of 40 tests failed."}
        await self._call(agent, "report", "POST", "report", run, report)
        await self._call(agent, "log-end", "POST", "log?stream=main&offset=15&end=1&exit=1", run, b"", headers=raw)

    async def _call(
        self,
        agent: Agent,
        name: str,
        method: str,
        what: str,
        token: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        show_answer: str = "",
    ) -> Any:
        path = f"/-/builds/{agent.uuid}/{what}"
        headers = {**_bearer(token), **(headers or {})}
        return await self.call(f"agent-{name}", method, path, body, headers=headers, show_answer=show_answer)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _is_reported(build: dict[str, Any]) -> bool:
    """Whether its receiver has every status and its sink the whole log."""
    return all(endpoint["state"] == "done" for endpoint in (*build["receivers"], *build["sinks"]))
