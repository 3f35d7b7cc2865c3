"""The Jenkins behind the HTTP routes: jobs, queue, executors and running builds in one home directory."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

from jenkins_emulator.builds import Build, Parameter
from jenkins_emulator.clock import Clock, ended_within
from jenkins_emulator.config_xml import adopt_options
from jenkins_emulator.environment import build_environment, inherited
from jenkins_emulator.executors import Executors
from jenkins_emulator.generations import Generation
from jenkins_emulator.jobs import Folder, Job
from jenkins_emulator.pipeline import Options
from jenkins_emulator.queue import Item, Queue
from jenkins_emulator.runs import Run, finish_log
from jenkins_emulator.sealing import Seal
from jenkins_emulator.shells import Shells
from jenkins_emulator.step_end import AgentLoss

# Recorded: deleting a job whose build does not end takes this long and fails.
DELETE_TIMEOUT_SECONDS = 15.0


class Controller:
    """The state of one Jenkins; used from one event loop, one per home directory."""

    def __init__(
        self,
        home: Path,
        *,
        generation: Generation,
        executors: int,
        labels: Iterable[str],
        clock: Clock,
        log_poll_seconds: float,
        quiet_period_seconds: float,
        leave_seconds: float,
        start_seconds: float,
        root_url: str | None,
        environment: Mapping[str, str] | None,
    ) -> None:
        """`environment` is what `sh` inherits; None stands for that of this process without the shuttle's settings."""
        self.home = home
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._seal = Seal(home)
        self._clock = clock
        self._generation = generation
        self._quiet_period_seconds = quiet_period_seconds
        self._root_url = root_url
        self._environment = dict(inherited() if environment is None else environment)
        self.top = Folder(None, "", home, self._seal)
        self.queue = Queue(
            home, clock, self._seal, self._start, leave_seconds=leave_seconds, start_seconds=start_seconds
        )
        self.executors = Executors(executors, labels, home, self.queue, clock, generation=generation)
        self._shells = Shells(log_poll_seconds, clock, whole_lines=not generation.size_counts_unserved)
        self._runs: dict[Build, Run] = {}
        self._finishing: set[Run] = set()
        self._next_ghosts: set[Job] = set()

    def load(self) -> None:
        """Read the home directory and resume running builds and waiting items."""
        self.top.load()
        for job in self.top.jobs():
            for build in job.builds.values():
                if build.is_running:
                    self._run(build)
                else:
                    finish_log(build)
        self.queue.load(self.top)

    async def close(self) -> None:
        """Stop following builds; their processes continue, and the next `load` resumes them."""
        await self.queue.close()
        await asyncio.gather(*(run.close() for run in [*self._runs.values(), *self._finishing]))
        await self._shells.close()

    def schedule(
        self, job: Job, given: Mapping[str, str], user: str | None, delay_seconds: float | None
    ) -> tuple[Item, bool]:
        """Queue a build; parameters that the job does not define are dropped, missing ones get their defaults.

        Returns its item, and whether that is a new one.
        """
        if delay_seconds is None:
            quiet = job.definition.quiet_period_seconds
            delay_seconds = self._quiet_period_seconds if quiet is None else quiet
        parameters = tuple(
            Parameter(
                definition.name,
                given.get(definition.name, definition.default),
                definition.is_secret,
                definition.kind.replace("Definition", "Value"),
            )
            for definition in job.definition.parameters
        )
        return self.queue.schedule(job, parameters, user, delay_seconds)

    def stop(self, build: Build, user: str | None) -> None:
        """See Run.stop; does nothing for a build that has ended."""
        if (run := self._runs.get(build)) is not None:
            run.stop(user)

    def term(self, build: Build, user: str | None) -> None:
        """See Run.term."""
        if (run := self._runs.get(build)) is not None:
            run.term(user)

    async def kill(self, build: Build) -> None:
        """See Run.kill."""
        if (run := self._runs.get(build)) is not None:
            await run.kill()

    def stop_executor(self, slot: int, user: str | None) -> None:
        """Stop the build on an executor, or free an executor that a killed build still occupies."""
        build = self.executors.slots[slot]
        if build is not None and build in self._runs:
            self.stop(build, user)
        else:
            self.executors.free_abandoned(slot)

    async def delete(self, item: Job | Folder, user: str | None) -> bool:
        """Delete a job or folder, cancel its waiting items and stop its running builds.

        The newer generation waits for the end of the builds. False: they did not end in time, and nothing is deleted.
        """
        jobs = [item] if isinstance(item, Job) else list(item.jobs())
        for job in jobs:
            self.queue.cancel_job(job)
        runs = [run for build, run in self._runs.items() if build.job in jobs]
        for run in runs:
            run.stop(user)
        if self._generation.job_delete_ends_builds:
            ends = [run.is_over.wait() for run in runs]
            if not await ended_within(self._clock, DELETE_TIMEOUT_SECONDS, ends):
                return False
        if item.parent is not None:
            item.parent.remove(item)
        return True

    def make_ghost(self, job: Job) -> None:
        """Make the job's next build a ghost: it reports that it builds, and nothing can end it."""
        self._next_ghosts.add(job)

    def lose_agent(self, build: Build, loss: AgentLoss) -> None:
        """Remove the agent of a running build permanently."""
        self._runs[build].lose_agent(loss)

    def describe(self, build: Build, text: str) -> None:
        """Set a build's description."""
        build.description = text
        build.save(self._seal)

    def quiet_down(self, *, quiet: bool) -> None:
        """Stop starting builds, or resume starting them."""
        self.queue.is_quieting_down = quiet
        self.queue.maintain()

    def _start(self, item: Item) -> Build:
        if item.job is None:
            raise ValueError(f"queue item {item.id} has no job to build")
        build = item.job.new_build(
            queue_id=item.id,
            parameters=item.parameters,
            causes=tuple(item.causes),
            started_at=self._clock.now(),
        )
        if item.job in self._next_ghosts:
            self._next_ghosts.discard(item.job)
            build.is_ghost = True
            build.save(self._seal)
        else:
            self._run(build)
        return build

    def _run(self, build: Build) -> None:
        node_name = self._generation.node_name
        environment = build_environment(self._environment, build, self.home, self._root_url, node_name)
        self._runs[build] = Run(
            build,
            environment=environment,
            executors=self.executors,
            shells=self._shells,
            clock=self._clock,
            generation=self._generation,
            ended=self._ended,
        )

    def _ended(self, run: Run, options: Options | None) -> None:
        build = run.build
        del self._runs[build]
        self._finishing = {finishing for finishing in [*self._finishing, run] if finishing.is_finishing}
        build.save(self._seal)
        if not build.job.is_deleted:
            # Only after the build: the script's disableConcurrentBuilds() does not apply to a job's first builds.
            if options is not None and adopt_options(build.job.root, options):
                build.job.configure(build.job.root)
                build.job.save(rewritten=True)
            build.job.discard_old_builds()
        self.queue.maintain()
