"""One recorded build with the services that its flow uses, and a Jenkins whose answers the test sets."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from cryptography.fernet import Fernet

from jenkins_pipelines.catalogue import PIPELINES
from shuttle.build import Build, SourceFacts, State
from shuttle.jenkins.budget import PollBudget
from shuttle.jenkins.controllers import Controllers
from shuttle.lease import Lease
from shuttle.lifecycle import Services
from shuttle.lifecycle.agent_calls import AgentCalls
from shuttle.lifecycle.build_logs import BuildLogs
from shuttle.lifecycle.build_spec import BuildSpec, make_spec
from shuttle.lifecycle.log_pieces import LogPieces
from shuttle.lifecycle.owned_apps import OwnedApps
from shuttle.lifecycle.peers import Peers
from shuttle.lifecycle.signals import Signals
from shuttle.logs.library import LogLibrary
from shuttle.objects.directory import DirectoryStore
from shuttle.peer_signature import PeerSignature
from shuttle.reachability import Reachability
from shuttle.request import parse_build_request
from shuttle.settings import load_settings
from shuttle.standing import Standing
from shuttle.store.builds import find_build
from shuttle.store.claims import Claim, NewClaim, claim_build, end_claim
from shuttle.store.fence import Ownership
from shuttle.store.intake import Intake
from shuttle.store.sqlite import SqliteDatabase
from shuttle.store.stored_sinks import StoredSinks
from shuttle.store.tables import builds
from shuttle.store.transitions import attempt_trigger, become_queued, become_staged, begin_staging, grant_slots
from shuttle.vault import Vault
from tests.support.clock import SetClock
from tests.support.migrated_database import write_migrated_database
from tests.support.shuttle_store import new_build, record

ITEM, NUMBER = 5, 7


class ScriptedJenkins:
    """Implements `shuttle.jenkins.Jenkins`; `calls` has the name and the arguments of every call.

    An answer is a value, an error to raise, or an async function that gets the arguments. Several answers are given
    one after another, the last one from then on.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._answers: dict[str, deque[Any]] = {"waiting": deque([{}]), "waiting_nodes": deque([{}])}

    def answers(self, call: str, *answers: Any) -> None:
        """Set the answers to a call."""
        self._answers[call] = deque(answers)

    def called(self, call: str) -> list[list[Any]]:
        """The arguments of each such call."""
        return [arguments for name, *arguments in self.calls if name == call]

    def __getattr__(self, call: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def answer(*arguments: Any) -> Any:
            self.calls.append((call, *arguments))
            answers = self._answers.get(call, deque([None]))
            found = answers.popleft() if len(answers) > 1 else answers[0]
            if callable(found) and not isinstance(found, type):
                found = await cast("Awaitable[Any]", found(*arguments))
            if isinstance(found, Exception):
                raise found
            return found

        return answer


@dataclass
class OneBuild:
    """A recorded build. `staging`, `queued` and `running` bring it into these states like the flow does."""

    services: Services
    jenkins: ScriptedJenkins
    clock: SetClock
    database: SqliteDatabase
    spec: BuildSpec
    build_uuid: str
    nonces: int = field(default=0)

    async def row(self) -> Build:
        """The newest row."""
        found = await self.database.run(find_build, self.build_uuid)
        assert found is not None
        return found

    async def staging(self) -> Build:
        """Staged, with a slot, and not triggered."""
        await self.database.run(begin_staging, self.build_uuid)
        await self.database.run(become_staged, self.build_uuid, SourceFacts(), "-----> Source\n")
        await self.database.run(grant_slots, 1)
        return await self.row()

    async def triggered(self) -> Build:
        """Still staging, but Jenkins may have it."""
        await self.staging()
        await self.database.run(attempt_trigger, self.build_uuid)
        return await self.row()

    async def queued(self, *, item: int | None = ITEM, number: int | None = None) -> Build:
        """Jenkins has it."""
        await self.triggered()
        return await self.database.run(become_queued, self.build_uuid, item=item, number=number)

    async def running(self) -> Build:
        """Claimed by the step of Jenkins build NUMBER."""
        await self.queued(number=NUMBER)
        await self.claim()
        return await self.row()

    async def claim(self) -> Claim:
        """Claim it like the step of Jenkins build NUMBER."""
        self.nonces += 1
        digests = (f"setup {self.nonces}", f"run {self.nonces}")
        return await self.database.run(claim_build, self.build_uuid, NewClaim(NUMBER, "", f"n{self.nonces}", *digests))

    async def end(self, claim: Claim, *, exit_status: int) -> None:
        """Report the end like the step's supervisor."""
        await self.database.run(end_claim, claim, exit_status)
        await self.services.logs.reload_claims(self.build_uuid)

    async def describe(self, text: str) -> None:
        """Give the build a `human_readable_info`, as its request could have."""
        mine = builds.c.build_uuid == self.build_uuid
        await self.database.run(lambda tx: tx.execute(builds.update().where(mine).values(human_readable_info=text)))

    async def in_state(self, state: State | str) -> Build:
        """The build in one of the states of its way to an end; "triggered" is between staging and queued."""
        ways = {
            State.RECORDED: self.row,
            State.STAGING: self.staging,
            "triggered": self.triggered,
            State.QUEUED: self.queued,
            State.RUNNING: self.running,
        }
        return await ways[state]()

    async def until(self, condition: Callable[[Build], Any]) -> Build:
        """Wait until `condition` is true of the row."""
        async with asyncio.timeout(5):
            while not condition(build := await self.row()):
                await asyncio.sleep(0.001)
        return build


@asynccontextmanager
async def one_build(folder: Path, with_pieces: bool = False, /, **settings: str) -> AsyncIterator[OneBuild]:
    """A build that is recorded; `settings` have the names of the environment's variables."""
    await write_migrated_database(folder / "shuttle.db")
    clock, vault, jenkins, signals = SetClock(), Vault([Fernet.generate_key().decode()]), ScriptedJenkins(), Signals()
    checked = load_settings({"SHUTTLE_DATA_DIR": str(folder), "JENKINS_URL": "http://jenkins.example/", **settings})
    database, objects = SqliteDatabase(folder / "shuttle.db", clock), DirectoryStore(folder / "objects")
    signals.subscribe_to(database)
    owned = OwnedApps()
    library = LogLibrary(folder / "spool", objects, memory_bytes=1024)
    pieces = LogPieces(database, objects, library, owned, enabled=with_pieces)
    services = Services(
        settings=checked,
        database=database,
        intake=Intake(database, clock),
        sinks=StoredSinks(database, vault),
        vault=vault,
        objects=objects,
        fetchers={},
        controllers=Controllers({"default": cast("Any", jenkins)}, {"default": PollBudget(50, double_rate_seconds=0)}),
        reachabilities=lambda: [Reachability(0)],
        library=library,
        pieces=pieces,
        logs=BuildLogs(database, vault, library, pieces, signals, owned=owned),
        calls=AgentCalls(100),
        signals=signals,
        owned=owned,
        lease=Lease(),
        peers=Peers(database, PeerSignature([b""], clock.steady), cast("Any", None)),
        public_url="http://shuttle.example",
        clock=clock,
        normalizing=asyncio.Semaphore(1),
    )
    body = {"source": {"url": "https://example.org/a.tgz"}, "pipeline": "script"}
    spec = make_spec(parse_build_request(body, checked, PIPELINES).request, Standing.CONTROLLER, checked)
    new = new_build(vault, plan=vault.seal(spec.model_dump_json().encode()))
    try:
        accepted = await record(database, vault, new)
        assert accepted.epoch is not None
        owned.add(Ownership(new.app_id, accepted.epoch))
        yield OneBuild(services, jenkins, clock, database, spec, new.build_uuid)
    finally:
        services.logs.abandon()
        await services.sinks.close()
        await objects.close()
        await database.close()
