"""Calls of a client of packer over REST, and those of the agent that runs its builds."""

import asyncio
from dataclasses import dataclass
from typing import Any

from tests.contract.agent_caller import Agent, agent_of_uuid
from tests.support.answer import Answer
from tests.support.inprocess import Shuttle


@dataclass
class Packerd:
    """The API at a base URL. Without `base`, below `/-/packerd` of the service."""

    shuttle: Shuttle
    base: str = "/-/packerd"

    async def ask(self, method: str, path: str, **sent: Any) -> Answer:
        return await self.shuttle.ask(method, self.base + path, **sent)

    async def get(self, path: str, **sent: Any) -> Answer:
        return await self.ask("GET", path, **sent)

    async def build(self, giturl: str, **fields: Any) -> str:
        """Ask for a build; returns the request's id."""
        answer = await self.ask("POST", "/build", json={"giturl": giturl, **fields})
        assert answer.status == 202, answer.body
        return str(answer.json[0]["href"]).rpartition("/")[2]

    async def response(self, request_id: str, run: int = 0) -> dict[str, Any]:
        """The run."""
        answer = await self.get(f"/build/responses/{request_id}/{run}")
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json
        return found

    async def until(self, request_id: str, condition: Any, run: int = 0) -> dict[str, Any]:
        """Wait until the condition is true of the run."""
        found: dict[str, Any] = {}
        try:
            async with asyncio.timeout(20):
                while not condition(found := await self.response(request_id, run)):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"still {found}") from None
        return found

    async def until_over(self, request_id: str, run: int = 0) -> dict[str, Any]:
        return await self.until(request_id, lambda found: found["status"] in {"failed", "complete"}, run)

    async def agent(self, request_id: str, run: int = 0) -> "PackerAgent":
        """The agent of the run, once Jenkins has it."""
        build_uuid = (await self.response(request_id, run))["id"]
        agent = await agent_of_uuid(self.shuttle, build_uuid)
        await self.shuttle.until(agent.path, "queued")
        await agent.begun()
        return PackerAgent(agent)


@dataclass
class PackerAgent:
    """Reports the stages of the pipeline `packer-image`."""

    agent: Agent

    async def begin(self, stage: str) -> None:
        await self._report(stage, "begin")

    async def end(self, stage: str, code: int = 0) -> None:
        await self._report(stage, "end", code=code, status="failed" if code else "succeeded")

    async def stage(self, name: str, text: bytes) -> None:
        """A stage that succeeds, with what it prints."""
        await self.begin(name)
        await self.agent.push(text)
        await self.end(name)

    async def _report(self, stage: str, event: str, **fields: Any) -> None:
        body = {"id": f"{stage}.{event}", "stage": stage, "event": event, "offset": self.agent.offsets.get("main", 0)}
        answer = await self.agent.ask("POST", "progress", json=body | fields)
        assert answer.status == 200, answer.body
