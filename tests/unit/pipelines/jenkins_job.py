"""A job of a running Jenkins, as tests drive it."""

import asyncio
from typing import Any

import aiohttp

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.render import render

AUTHORIZATION = {"Authorization": aiohttp.encode_basic_auth("admin", "api-token")}


def config_xml(name: str) -> bytes:
    kind = PIPELINES[name]
    return render(kind.build(kind.Options()), agent_label=None).config_xml


class Job:
    """One job of a running Jenkins."""

    def __init__(self, session: aiohttp.ClientSession, url: str, name: str = "app") -> None:
        self._session, self._jenkins, self._url = session, url, f"{url}/job/{name}"
        self._name = name

    async def create(self, config_xml: bytes) -> None:
        headers = {"Content-Type": "application/xml"}
        async with self._session.post(
            f"{self._jenkins}/createItem?name={self._name}", data=config_xml, headers=headers
        ) as made:
            assert made.status == 200, made.headers

    async def config(self) -> bytes:
        async with self._session.get(f"{self._url}/config.xml") as answer:
            return await answer.read()

    async def trigger(self, **parameters: str) -> None:
        """Start a build at once."""
        form = {"delay": "0sec"} | parameters
        async with self._session.post(f"{self._url}/buildWithParameters", data=form) as triggered:
            assert triggered.status == 201

    async def run(self, number: int, **parameters: str) -> tuple[str, str]:
        """Trigger a build and wait for its end: result and console."""
        await self.trigger(**parameters)
        return await self.ended(number)

    async def ended(self, number: int) -> tuple[str, str]:
        """Wait for a build's end: result and console."""
        while True:
            build = await self._build(number)
            if build is not None and not build["building"]:
                return build["result"], await self.console(number)
            await asyncio.sleep(0.02)

    async def console(self, number: int) -> str:
        """The console's text so far."""
        async with self._session.get(f"{self._url}/{number}/consoleText") as answer:
            return await answer.text()

    async def stop(self, number: int) -> None:
        """Stop the build as the button in Jenkins does."""
        async with self._session.post(f"{self._url}/{number}/stop", allow_redirects=False) as answer:
            assert answer.status == 302

    async def _build(self, number: int) -> dict[str, Any] | None:
        async with self._session.get(f"{self._url}/{number}/api/json?tree=building,result") as answer:
            if answer.status == 404:
                return None
            found: dict[str, Any] = await answer.json()
            return found
