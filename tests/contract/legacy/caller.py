"""An app of the old controller, and the requests that are made for it."""

import asyncio
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from shuttle.build import Build
from shuttle.store.builds import find_build
from tests.contract.agent_caller import Agent, agent_of_uuid
from tests.support.answer import Answer
from tests.support.image_builder import Notes
from tests.support.inprocess import Shuttle
from tests.support.product import data_url

OK = b'{"status":"ok"}'


def image_source(run: str = "true") -> str:
    """A source whose build executes these shell lines, one RUN each."""
    lines = "".join(f"RUN {line}\n" for line in run.splitlines())
    return data_url({"Dockerfile": f"FROM scratch\n{lines}"})


class LegacyApp:
    """`builder_notes` is the directory of the stand-in builder's notes, for shuttles that run builds."""

    def __init__(self, shuttle: Shuttle, name: str = "shop", builder_notes: Path = Path()) -> None:
        self.shuttle = shuttle
        self.name = name
        self.app_uuid = str(uuid4())
        self.builder_notes = builder_notes

    @property
    def app_id(self) -> str:
        return f"{self.name}-{self.app_uuid}"

    def path(self, number: object = 1) -> str:
        return f"/{self.app_id}/{number}"

    def specified(self, run: str = "true", **fields: Any) -> dict[str, Any]:
        """The fields that the specification names; a field with the value None is left out."""
        body = {
            "sha": "0123456789abcdef0123456789abcdef01234567",
            "app": self.name,
            "space": "default",
            "branch": "main",
            "repo": "https://git.example/org/shop",
            "org": "org",
            "build_uuid": str(uuid4()),
            "app_uuid": self.app_uuid,
            "sources": image_source(run),
            "docker_registry": "",
            "docker_login": "",
            "docker_password": "",
        } | fields
        return {name: value for name, value in body.items() if value is not None}

    def request(self, number: object = 1, run: str = "true", **fields: Any) -> dict[str, Any]:
        """The fields that the real client sends."""
        more = {
            "build_number": number,
            "kafka_hosts": "",
            "gm_registry_host": "registry.example",
            "gm_registry_repo": "org",
            "gm_registry_auth": {"username": "pusher", "password": "push-password"},
            "build_args": {"NODE_ENV": "production"},
        }
        return self.specified(run, **(more | fields))

    async def post(self, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """`POST /` with a value as JSON."""
        headers = {"Content-Type": "application/json", **(headers or {})}
        # From a file, because aiohttp's client warns of bodies above 1 MiB that are sent in one piece.
        return await self.shuttle.ask("POST", "/", data=io.BytesIO(json.dumps(body).encode()), headers=headers)

    async def submit(self, number: object = 1, run: str = "true", **fields: Any) -> str:
        """Request a build like the real client; returns its uuid."""
        body = self.request(number, run, **fields)
        answer = await self.post(body)
        assert (answer.status, answer.body) == (200, OK)
        return str(body["build_uuid"])

    async def agent(self, build_uuid: str) -> Agent:
        """The agent of one of the app's builds."""
        return await agent_of_uuid(self.shuttle, build_uuid)

    async def environment(self, **fields: Any) -> dict[str, bytes]:
        """The environment of the agent of a build with these fields."""
        agent = await self.agent(await self.submit(1, **fields))
        return await agent.files("environment")

    async def refused(self, **fields: Any) -> Answer:
        """The response to a build with these fields, which must be a 400."""
        answer = await self.post(self.request(**fields))
        assert answer.status == 400, answer.body
        return answer

    async def record(self, build_uuid: str) -> Build:
        """The build with this uuid; other builds may have the same number."""
        build = await self.shuttle.services.database.run(find_build, build_uuid)
        assert build is not None
        return build

    async def until(self, number: object = 1, *states: str, seconds: float = 20) -> dict[str, Any]:
        """Wait until the newest build with this number has one of the states, and return it as GET does."""
        return await self.shuttle.until(self.path(number), *states, seconds=seconds)

    async def until_recorded(
        self, build_uuid: str, condition: Callable[[Build], object] = lambda build: build.state.final
    ) -> Build:
        """Wait until the condition holds (by default: the build is over) for the build with this uuid."""
        async with asyncio.timeout(20):
            while not condition(build := await self.record(build_uuid)):
                await asyncio.sleep(0.02)
            return build

    async def status(self, number: object = 1) -> Answer:
        return await self.shuttle.get(f"{self.path(number)}/status")

    async def logs(self, number: object = 1, **headers: str) -> Answer:
        return await self.shuttle.get(f"{self.path(number)}/logs", headers=headers)

    async def stop(self, number: object = 1) -> Answer:
        return await self.shuttle.delete(self.path(number))

    async def delete(self) -> Answer:
        """Delete the whole app."""
        return await self.shuttle.delete(f"/{self.app_id}")

    def notes(self, build_uuid: str) -> Notes:
        """The inputs of the builder."""
        return Notes(self.builder_notes / build_uuid)


def arguments_in(environment: Mapping[str, bytes]) -> dict[str, str]:
    """The arguments in an agent's environment, in whichever way each is passed on."""
    folders = ("arguments/", "steering/", "shell_variables/")
    pairs = [content.decode() for name, content in environment.items() if name.startswith(folders)]
    return dict(pair.split("=", 1) for pair in pairs)


def destinations_in(environment: Mapping[str, bytes]) -> list[str]:
    """The references that are pushed, in order."""
    names = sorted(name for name in environment if name.startswith("destinations/") and name.endswith("/reference"))
    return [environment[name].decode() for name in names]


def credentials_in(environment: Mapping[str, bytes], folder: str) -> dict[str, str]:
    """Base64 of `user:password` by registry, from the configuration of one image."""
    auths = json.loads(environment[f"{folder}/config.json"])["auths"]
    return {registry: entry["auth"] for registry, entry in auths.items()}


def labels_in(environment: Mapping[str, bytes]) -> dict[str, str]:
    """The image's labels."""
    pairs = [content.decode() for name, content in environment.items() if name.startswith("labels/")]
    return dict(pair.split("=", 1) for pair in pairs)
