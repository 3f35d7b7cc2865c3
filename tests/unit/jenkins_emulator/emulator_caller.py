"""A plain HTTP client of the emulated Jenkins, and the jobs that it posts."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

import aiohttp

RECORDINGS = Path(__file__).parents[2] / "recordings" / "declarative"
XML = {"Content-Type": "application/xml"}


class Answer(NamedTuple):
    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Caller:
    """Sends requests with one user's credentials; never follows redirects."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, user: str | None = "admin", secret: str = "tok"
    ) -> None:
        self.session = session
        self.url = url
        self.headers = {} if user is None else {"Authorization": aiohttp.encode_basic_auth(user, secret)}

    async def request(self, method: str, path: str, **options: Any) -> Answer:
        headers = {"Accept-Encoding": "identity", **self.headers, **options.pop("headers", {})}
        async with self.session.request(
            method, self.url + path, headers=headers, allow_redirects=False, **options
        ) as response:
            return Answer(response.status, response.headers, (await response.read()).decode(errors="replace"))

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Answer:
        return await self.request("POST", path, **options)

    async def create(self, name: str, stages: str = "", **options: Any) -> None:
        answer = await self.post(f"/createItem?name={name}", data=config(stages, **options), headers=XML)
        assert answer.status == 200, answer

    async def trigger(self, name: str, delay: str = "0sec", **parameters: str) -> int:
        """Trigger a build; returns the queue item's number, which may be one waiting with the same parameters."""
        route = "buildWithParameters" if parameters else "build"
        answer = await self.post(f"/job/{name}/{route}?delay={delay}", data=parameters)
        assert answer.status in (201, 303), answer
        return int(answer.headers["Location"].rstrip("/").rsplit("/", 1)[1])

    async def build(self, name: str, number: int = 1) -> Any:
        return (await self.get(f"/job/{name}/{number}/api/json")).json

    async def ended(self, name: str, number: int = 1) -> str:
        """Wait for the result and the complete log; returns the result."""
        await until(lambda: self._is_ended(name, number))
        await until(lambda: self._has_whole_log(name, number))
        return str((await self.build(name, number))["result"])

    async def _is_ended(self, name: str, number: int) -> bool:
        answer = await self.get(f"/job/{name}/{number}/api/json?tree=building")
        return answer.status == 200 and not answer.json["building"]

    async def _has_whole_log(self, name: str, number: int) -> bool:
        answer = await self.request("HEAD", f"/job/{name}/{number}/logText/progressiveText")
        return "X-More-Data" not in answer.headers

    async def console(self, name: str, number: int = 1) -> str:
        return (await self.get(f"/job/{name}/{number}/consoleText")).text

    async def shows(self, text: str, name: str, number: int = 1) -> None:
        """Wait for a text in the log."""

        async def seen() -> bool:
            return text in await self.console(name, number)

        await until(seen)

    async def item(self, number: int) -> Any:
        return (await self.get(f"/queue/item/{number}/api/json")).json


def ignoring_term(gate: Path) -> str:
    """A step that ignores TERM until the test opens the gate."""
    return f"sh 'trap : TERM; echo ignoring_term; while [ ! -e {gate} ]; do sleep 0.1 || true; done'"


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "timed out"
        await asyncio.sleep(0.01)


def config(
    stages: str = "",
    *,
    script: str | None = None,
    parameters: tuple[str, ...] = (),
    properties: str = "",
    more: str = "",
) -> bytes:
    """A config.xml; `stages` is the content of stages { … }, or `steps:` followed by the steps of one stage."""
    if stages.startswith("steps:"):
        stages = f"stage('only') {{\n steps {{\n{stages[6:]}\n }}\n}}"
    script = script or f"pipeline {{\n agent any\n stages {{\n{stages}\n }}\n}}\n"
    definitions = "".join(
        f"<hudson.model.{'Password' if name.endswith('TOKEN') else 'String'}ParameterDefinition><name>{name}</name>"
        f"<defaultValue>d</defaultValue>"
        f"</hudson.model.{'Password' if name.endswith('TOKEN') else 'String'}ParameterDefinition>"
        for name in parameters
    )
    if definitions:
        properties += (
            "<hudson.model.ParametersDefinitionProperty><parameterDefinitions>"
            f"{definitions}</parameterDefinitions></hudson.model.ParametersDefinitionProperty>"
        )
    return (
        f"<?xml version='1.1' encoding='UTF-8'?><flow-definition><description>made by a test</description>"
        f"<properties>{properties}</properties><definition><script>{escape(script)}</script></definition>{more}"
        "</flow-definition>"
    ).encode()
