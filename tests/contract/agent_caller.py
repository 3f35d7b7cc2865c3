"""The calls that a build's agent makes to the shuttle, with the token of that build."""

import io
import tarfile
from dataclasses import dataclass

from shuttle.lifecycle.plan import Plan
from tests.inprocess import Answer, Shuttle


@dataclass
class Agent:
    """One build that is not over, as its agent sees the shuttle."""

    shuttle: Shuttle
    path: str
    uuid: str
    token: str

    async def ask(self, method: str, what: str, *, token: str | None = None, **sent: object) -> Answer:
        """One call; with the build's own token unless another is given."""
        headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
        return await self.shuttle.ask(method, f"/-/builds/{self.uuid}/{what}", headers=headers, **sent)

    async def files(self, what: str) -> dict[str, bytes]:
        """What `environment` or `source.tar.gz` holds, by name."""
        answer = await self.ask("GET", what)
        assert answer.status == 200, answer.body
        return unpacked(answer.body)


async def agent_of(shuttle: Shuttle, path: str) -> Agent:
    """The agent of the build at that path."""
    return await agent_of_uuid(shuttle, (await shuttle.build(path))["build_uuid"], path)


async def agent_of_uuid(shuttle: Shuttle, build_uuid: str, path: str = "") -> Agent:
    """The agent of the build of that uuid."""
    plan = Plan.model_validate_json(await shuttle.ports.store.plan(build_uuid))
    return Agent(shuttle, path, build_uuid, plan.token)


def unpacked(archive: bytes) -> dict[str, bytes]:
    """The files of a tar.gz."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        return {entry.name.removeprefix("./"): files.extractfile(entry).read() for entry in files if entry.isfile()}
