"""The steps of a build as functions: accept, run, stage, trigger, follow, stop, finish. All of them use `Services`."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shuttle.build import Build
from shuttle.clock import Clock
from shuttle.jenkins import Jenkins
from shuttle.jenkins.controllers import Controllers
from shuttle.lease import Lease
from shuttle.lifecycle.agent_calls import AgentCalls
from shuttle.lifecycle.build_logs import BuildLogs
from shuttle.lifecycle.log_pieces import LogPieces
from shuttle.lifecycle.owned_apps import OwnedApps
from shuttle.lifecycle.peers import Peers
from shuttle.lifecycle.signals import Signals
from shuttle.logs.library import LogLibrary
from shuttle.objects import ObjectStore
from shuttle.reachability import Reachability
from shuttle.settings import Settings
from shuttle.sources.kind import Fetchers
from shuttle.store import Database
from shuttle.store.builds import reread
from shuttle.store.intake import Intake
from shuttle.store.stored_sinks import StoredSinks
from shuttle.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of the process that the steps of a build use."""

    settings: Settings
    database: Database
    intake: Intake
    sinks: StoredSinks
    vault: Vault
    objects: ObjectStore
    fetchers: Fetchers
    controllers: Controllers
    reachabilities: Callable[[], Sequence[Reachability]]  # of all live replicas, this one first
    library: LogLibrary
    pieces: LogPieces
    logs: BuildLogs
    calls: AgentCalls
    signals: Signals
    owned: OwnedApps
    lease: Lease
    peers: Peers
    public_url: str
    clock: Clock
    normalizing: asyncio.Semaphore

    def jenkins_of(self, build: Build) -> Jenkins:
        """The controller that has the build, or will have it. JenkinsUnavailableError: JENKINS_URL lacks it."""
        return self.controllers.of(build.controller)

    async def current(self, build: Build) -> Build:
        """The build's newest row."""
        return await self.database.run(reread, build)
