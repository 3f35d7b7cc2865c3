"""Makes the calls of a build's supervisor to the shuttle, so that a test needs neither an agent nor a shell."""

import io
import tarfile
from dataclasses import dataclass, field
from typing import Any

from shuttle.lifecycle.build_spec import read_spec
from shuttle.store.builds import find_build
from shuttle.store.transitions import attempt_trigger
from tests.support.answer import Answer
from tests.support.inprocess import Shuttle

NONCE = "nonce-of-a-test-0001"
SETUP_CALLS = ("source.tar.gz", "environment", "begin")


@dataclass
class Agent:
    """The supervisor of one build that is not over. `token` is the build's own, the others are from the last claim."""

    shuttle: Shuttle
    path: str
    uuid: str
    token: str
    setup_token: str = ""
    run_token: str = ""
    offsets: dict[str, int] = field(default_factory=dict)

    async def ask(self, method: str, what: str, *, token: str | None = None, **sent: Any) -> Answer:
        """One call, with the token that this call needs unless another is given."""
        if token is None:
            token = self.token if what == "claim" else self.setup_token if what in SETUP_CALLS else self.run_token
        headers = {"Authorization": f"Bearer {token}"}
        return await self.shuttle.ask(method, f"/-/builds/{self.uuid}/{what}", headers=headers, **sent)

    async def claim(self, *, number: int = 1, nonce: str = NONCE, branch: str | None = None) -> Answer:
        """Claim the build, or a branch of it; keeps the tokens of a 200."""
        body = {"number": number, "nonce": nonce} | ({"branch": branch} if branch is not None else {})
        answer = await self.ask("POST", "claim", json=body)
        if answer.status == 200:
            self.setup_token, self.run_token = answer.json["setup_token"], answer.json["run_token"]
        return answer

    async def begun(self, **claim: Any) -> "Agent":
        """Claim the build and call `begin`; returns this agent."""
        assert (await self.claim(**claim)).status == 200
        assert (await self.ask("POST", "begin")).status == 200
        return self

    async def push(self, raw: Any, *, stream: str = "main", offset: int | None = None, **query: int) -> Answer:
        """Push bytes, from the offset that the last answer wanted unless another is given."""
        at = self.offsets.get(stream, 0) if offset is None else offset
        more = "".join(f"&{name}={value}" for name, value in query.items())
        answer = await self.ask("POST", f"log?stream={stream}&offset={at}{more}", data=raw)
        if "Shuttle-Log-Offset" in answer.headers:
            self.offsets[stream] = int(answer.headers["Shuttle-Log-Offset"])
        return answer

    async def end(self, exit_status: int = 0, raw: bytes = b"") -> Answer:
        """Push the last bytes of the main stream with the exit status."""
        return await self.push(raw, end=1, exit=exit_status)

    async def files(self, what: str) -> dict[str, bytes]:
        """The files of `environment` or `source.tar.gz`, by name; claims the build first, even if Jenkins has none."""
        if not self.setup_token:
            await self.handed_to_jenkins()
            assert (await self.claim()).status == 200
        answer = await self.ask("GET", what)
        assert answer.status == 200, answer.body
        return unpacked(answer.body)

    async def handed_to_jenkins(self) -> None:
        """Record a trigger attempt, as the shuttle does before it calls Jenkins; without it a claim is refused."""
        await self.shuttle.until_shown(self.path, lambda build: build["timestamps"]["staged_at"] is not None)
        await self.shuttle.services.database.run(attempt_trigger, self.uuid)


async def agent_of(shuttle: Shuttle, path: str) -> Agent:
    """The agent of the build at that path."""
    return await agent_of_uuid(shuttle, (await shuttle.build(path))["build_uuid"], path)


async def agent_of_uuid(shuttle: Shuttle, build_uuid: str, path: str = "") -> Agent:
    """The agent of the build with this uuid."""
    services = shuttle.services
    if not path:
        build = await services.database.run(find_build, build_uuid)
        assert build is not None
        path = f"/{build.app_id}/{build.build_id}"
    return Agent(shuttle, path, build_uuid, (await read_spec(build_uuid, services.database, services.vault)).token)


def unpacked(archive: bytes) -> dict[str, bytes]:
    """The files of a tar.gz."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        return {entry.name.removeprefix("./"): files.extractfile(entry).read() for entry in files if entry.isfile()}
