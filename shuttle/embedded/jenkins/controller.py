"""The Jenkins behind the HTTP routes: jobs, queue, executors and running builds in one home directory."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

from shuttle.embedded.jenkins.builds import Build, Parameter
from shuttle.embedded.jenkins.clock import Clock
from shuttle.embedded.jenkins.config_xml import adopt_options
from shuttle.embedded.jenkins.environment import build_environment, inherited
from shuttle.embedded.jenkins.executors import Executors
from shuttle.embedded.jenkins.jobs import Folder, Job
from shuttle.embedded.jenkins.pipeline import Options
from shuttle.embedded.jenkins.queue import Item, Queue
from shuttle.embedded.jenkins.runs import Run
from shuttle.embedded.jenkins.sealing import Seal
from shuttle.embedded.jenkins.shell import Shells


class Controller:
    """Used from one event loop; one per home directory."""

    def __init__(
        self,
        home: Path,
        *,
        executors: int,
        labels: Iterable[str],
        clock: Clock,
        log_poll_seconds: float,
        quiet_period_seconds: float,
        start_seconds: float,
        root_url: str | None,
        environment: Mapping[str, str] | None,
    ) -> None:
        """`environment` is what `sh` inherits; None: this process's, without the shuttle's settings."""
        self.home = home
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._seal = Seal(home)
        self._clock = clock
        self._quiet_period_seconds = quiet_period_seconds
        self._root_url = root_url
        self._environment = dict(inherited() if environment is None else environment)
        self.top = Folder(None, "", home, self._seal)
        self.queue = Queue(home, clock, self._seal, self._start, start_seconds)
        self.executors = Executors(executors, labels, home, self.queue, clock)
        self._shells = Shells(log_poll_seconds)
        self._runs: dict[Build, Run] = {}

    def load(self) -> None:
        """Read the home directory and go on with what ran and waited."""
        self.top.load()
        for job in self.top.jobs():
            for build in job.builds.values():
                if build.is_building:
                    self._run(build)
        self.queue.load(self.top)

    async def close(self) -> None:
        """Stop following; processes of running builds go on, and the next `load` takes them up."""
        await self.queue.close()
        await asyncio.gather(*(run.close() for run in list(self._runs.values())))
        await self._shells.close()

    def schedule(self, job: Job, given: Mapping[str, str], user: str | None, delay_seconds: float | None) -> Item:
        """Queue a build; parameters that the job does not define are dropped, missing ones get their defaults."""
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
        """See Run.stop; nothing for a build that ended."""
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

    def delete(self, item: Job | Folder, user: str | None) -> None:
        """Forget a job or folder at once; its waiting items are cancelled, its running builds interrupted."""
        jobs = [item] if isinstance(item, Job) else list(item.jobs())
        for job in jobs:
            self.queue.cancel_job(job)
            for build in [build for build in self._runs if build.job is job]:
                self.stop(build, user)
        if item.parent is not None:
            item.parent.remove(item)

    def describe(self, build: Build, text: str) -> None:
        """Set a build's description."""
        build.description = text
        build.save(self._seal)

    def quiet_down(self, *, quiet: bool) -> None:
        """Start no build, or start them again."""
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
        self._run(build)
        return build

    def _run(self, build: Build) -> None:
        environment = build_environment(self._environment, build, self.home, self._root_url)
        self._runs[build] = Run(
            build,
            environment=environment,
            executors=self.executors,
            shells=self._shells,
            clock=self._clock,
            ended=self._ended,
        )

    def _ended(self, run: Run, options: Options | None) -> None:
        build = run.build
        del self._runs[build]
        build.save(self._seal)
        if not build.job.is_deleted:
            # Only now: a script's own disableConcurrentBuilds() does not hold back the builds of its first run.
            if options is not None and adopt_options(build.job.root, options):
                build.job.configure(build.job.root)
                build.job.save(rewritten=True)
            build.job.discard_old_builds()
        self.queue.maintain()
