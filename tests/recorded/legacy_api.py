"""The examples of docs/legacy-api.md: every call of the older API, its callbacks and its Kafka messages."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from tests.recorded.recorder import Recorder
from tests.support.archives import entry, tar
from tests.support.image_builder import agent_path
from tests.support.inprocess import Shuttle, running_jenkins, running_shuttle
from tests.support.kafka_cluster import Cluster, kafka_cluster
from tests.support.kafka_topic import is_finished
from tests.support.receivers import Exchange, Receiver

_APP_UUID = "5f0c7b9a-3c1d-4e55-9d0a-2b8f6a1c7e10"
_APP = f"shop-{_APP_UUID}"
_FIRST, _REBUILD, _STOPPED = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "abc")
_DOCKERFILE = "FROM scratch\nRUN echo '  compiling shop'\nRUN echo ready\n"
_SOURCE = tar(entry("shop-4f1c2d3/Dockerfile", _DOCKERFILE.encode()))


async def record(folder: Path) -> dict[str, str]:
    """Make every call to a service whose image builder is replaced by a stand-in; returns the examples by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", agent_path(folder / "agent"))
        patch.setattr("shuttle.web.readiness._CACHE_SECONDS", 0)
        async with (
            kafka_cluster() as cluster,
            running_jenkins(folder) as jenkins,
            running_shuttle(
                folder, jenkins.url, DOCKER_REGISTRY_HOST="registry.example.com", DOCKER_REPO="apps"
            ) as shuttle,
            Receiver() as controller,
        ):
            recorder = _Conversation(shuttle, controller, cluster)
            await recorder.build_one()
            await recorder.read()
            await recorder.refusals()
            await recorder.rebuild_stop_and_delete()
            await recorder.call("octhc-good", "GET", "/octhc")
            await jenkins.stop()
            await recorder.call("octhc-bad", "GET", "/octhc")
            return recorder.examples


class _Conversation(Recorder):
    def __init__(self, shuttle: Shuttle, controller: Receiver, cluster: Cluster) -> None:
        super().__init__(shuttle)
        self._controller = controller
        self._cluster = cluster
        self.names |= {
            f"127.0.0.1:{controller.port}": "app.example.com",
            cluster.bootstrap: "kafka.example.com:9092",
        }

    async def build_one(self) -> None:
        """A build from its POST to its last callback; its source waits until the test has read the pending status."""
        asked = asyncio.Event()

        async def source(exchange: Exchange) -> None:
            await asked.wait()
            await exchange.answer(200, {"Content-Type": "application/x-tar"}, _SOURCE)

        async with Receiver(source) as code, self._cluster.reading("alamobuildlogs") as topic:
            self.names[f"127.0.0.1:{code.port}"] = "src.example.com"
            self._request = self._real_clients(f"{code.url}/shop-4f1c2d3.tar")
            await self.call("post", "POST", "/", self._request)
            await self.call("status-pending", "GET", f"/{_APP}/42/status")
            asked.set()
            await self._callbacks(42, "callback-pending", "callback-succeeded")
            await topic.until(is_finished, seconds=60)
            line, end = next(one for one in topic.messages if b"compiling" in one.value), topic.messages[-1]
            self.keep("kafka", f"{_kafka_message(line)}\n{_kafka_message(end)}")

    async def read(self) -> None:
        """Everything that can be read of the build, and the answers to its repeated POST."""
        await self.call("status-succeeded", "GET", f"/{_APP}/42/status")
        await self.call("logs-text", "GET", f"/{_APP}/42/logs")
        await self.call("logs-json", "GET", f"/{_APP}/42/logs", headers={"Content-Type": "application/json"})
        await self.call("head-source", "HEAD", f"/{_FIRST}")
        await self.call("get-source", "GET", f"/{_FIRST}")
        await self.call("head-unknown", "HEAD", f"/{_REBUILD}")
        await self.call("post-again", "POST", "/", self._request, show_body=False)
        await self.call("post-other-body", "POST", "/", self._request | {"space": "live"}, show_body=False)

    async def refusals(self) -> None:
        """Requests that are refused because of their body."""
        await self.call("post-missing-fields", "POST", "/", {"app": "shop", "space": "default"})
        await self.call("post-bad-uuid", "POST", "/", self._request | {"build_uuid": "42"}, show_body=False)
        await self.call("post-bad-field", "POST", "/", self._request | {"build_args": "RUN date"}, show_body=False)

    async def rebuild_stop_and_delete(self) -> None:
        """The example of the specification with the source of an earlier build; a stop; the deletion of the app."""
        await self.call("post-specified", "POST", "/", self._specified())
        waiting = self._request | {"build_number": 44, "build_uuid": _STOPPED, "callback": self._callback(44)}
        answer = await self.shuttle.post("/", waiting)
        assert answer.status == 200, answer.body
        await self.call("delete-build", "DELETE", f"/{_APP}/44")
        await self.call("status-stopped", "GET", f"/{_APP}/44/status")
        await self._callbacks(44, None, "callback-stopped")
        await self.call("delete-again", "DELETE", f"/{_APP}/44")
        await self.call("delete-unknown", "DELETE", f"/{_APP}/45")
        await self.call("status-unknown", "GET", f"/{_APP}/45/status")
        await self.call("delete-app", "DELETE", f"/{_APP}")

    async def _callbacks(self, number: int, *names: str | None) -> None:
        """Record the callbacks of this build, in order; one whose name is None is not recorded."""
        ours = lambda: [one for one in self._controller.exchanges if one.target.endswith(f"/{number}") and one.ended]  # noqa: E731
        async with asyncio.timeout(90):
            await self._controller.until(lambda: len(ours()) >= len(names))
        for name, exchange in zip(names, ours(), strict=True):
            if name is not None:
                self.keep_request(name, exchange)

    def _callback(self, number: int) -> str:
        return f"{self._controller.url}/builds/{number}"

    def _real_clients(self, source: str) -> dict[str, Any]:
        return {
            "app": "shop",
            "space": "default",
            "app_uuid": _APP_UUID,
            "build_uuid": _FIRST,
            "build_number": 42,
            "sources": source,
            "repo": "https://git.example.com/team/shop",
            "branch": "main",
            "sha": "4f1c2d3",
            "org": "team",
            "callback": self._callback(42),
            "callback_auth": "1700000000 8c6976e5b5410415",
            "gm_registry_host": "registry.example.com",
            "gm_registry_repo": "apps",
            "gm_registry_auth": {"username": "pusher", "password": "push-password"},
            "build_args": {"NODE_ENV": "production", "API_KEY": "a-secret-by-its-name"},
            "kafka_hosts": self._cluster.bootstrap,
        }

    def _specified(self) -> dict[str, Any]:
        return {
            "sha": "4f1c2d3",
            "app": "shop",
            "space": "default",
            "branch": "main",
            "repo": "https://git.example.com/team/shop",
            "org": "team",
            "callback": "",
            "callback_auth": "",
            "build_uuid": _REBUILD,
            "app_uuid": _APP_UUID,
            "sources": f"{self.shuttle.url}/{_FIRST}",
            "docker_registry": "",
            "docker_login": "",
            "docker_password": "",
            "build_options": "ARG NODE_ENV=production\nARG VERSION=42",
        }


def _kafka_message(message: ConsumerRecord) -> str:
    headers = [f"{name}: {value.decode()}" for name, value in message.headers]
    key = (message.key or b"").decode()
    lines = [f"topic: {message.topic}", f"key: {key}", *headers, "", (message.value or b"").decode(), ""]
    return "\n".join(lines)
