"""A build while it runs: from its first log line to `Finished:`, also stopped, or taken up again after a restart."""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from shuttle.embedded.jenkins.builds import Build, cause_text
from shuttle.embedded.jenkins.clock import Clock
from shuttle.embedded.jenkins.declarative import compile_pipeline
from shuttle.embedded.jenkins.execution import Execution
from shuttle.embedded.jenkins.executors import Executors
from shuttle.embedded.jenkins.groovy_strings import ScriptError
from shuttle.embedded.jenkins.pipeline import Options
from shuttle.embedded.jenkins.recorder import Recorder
from shuttle.embedded.jenkins.scopes import Interruption, Kind, Scope
from shuttle.embedded.jenkins.shell import Shells
from shuttle.embedded.jenkins.steps import Steps

_JOURNAL_NAME = "journal.jsonl"


class Run:
    """Runs one build as a task; `ended` is called once, with the options of its script, when the result is recorded."""

    def __init__(
        self,
        build: Build,
        *,
        environment: Mapping[str, str],
        executors: Executors,
        shells: Shells,
        clock: Clock,
        ended: Callable[["Run", Options | None], None],
    ) -> None:
        """`environment` is what every `sh` of the build starts from."""
        self.build = build
        self._environment = environment
        self._executors = executors
        self._clock = clock
        self._ended = ended
        self._scope = Scope()
        self._recorder = Recorder(build.directory)
        self._steps = Steps(self._recorder, shells, clock)
        self._held: tuple[int, Path] | None = None
        build.recorder = self._recorder
        self._task = asyncio.create_task(self._go_on())
        self._task.add_done_callback(_report)

    def stop(self, user: str | None) -> None:
        """Interrupt what runs: SIGTERM to its processes; a script may ignore it."""
        self._steps.stopped_by = str(self._recorder.remember("stop", user or "anonymous"))
        self._scope.interrupt(Interruption(Kind.STOP))

    def term(self, user: str | None) -> None:
        """End what runs without asking it; the pipeline's post conditions still run."""
        self._steps.stopped_by = str(self._recorder.remember("stop", user or "anonymous"))
        self._scope.interrupt(Interruption(Kind.TERM))

    async def kill(self) -> None:
        """End the build at once: no further step, no post."""
        self._scope.interrupt(Interruption(Kind.KILL))
        await self.close()
        if self.build.is_building:
            self._give_back()
            self._recorder.line("killed", "Hard kill!")
            self._finish("ABORTED", None)

    async def close(self) -> None:
        """Leave the build as it is, to be resumed; its processes run on."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def acquire(self, label: str | None, scope: Scope) -> Path:
        """See execution.Agent."""
        held = self._recorder.recall("workspace")
        if held is None:
            self._held = await self._executors.acquire(self.build, label, scope, self._recorder)
            self._recorder.remember("workspace", str(self._held[1]))
        elif self._held is None:
            self._held = (self._executors.reclaim(self.build, Path(held)), Path(held))
        return self._held[1]

    def release(self) -> None:
        """See execution.Agent."""
        self._give_back()

    def _give_back(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._executors.release(*held)

    async def _go_on(self) -> None:
        try:
            await self._go()
        except OSError as error:  # no space, no shell: the build cannot be carried out, and its log says why
            self._recorder.line("broken", f"ERROR: {error}")
            self._finish("FAILURE", None)

    async def _go(self) -> None:
        if self._recorder.is_resumed and self._recorder.recall("result") is None:
            self._say_resumed()
        for index, user in enumerate(self.build.causes):
            self._recorder.line(f"cause:{index}", cause_text(user), linked=user or "anonymous")
        self._recorder.line("durability", "Running in Durability level: MAX_SURVIVABILITY")
        script = str(self._recorder.remember("script", self.build.job.definition.script))
        try:
            pipeline = compile_pipeline(script)
        except ScriptError as error:
            self._recorder.line("startup-failed", error.console(script).removesuffix("\n"))
            self._finish("FAILURE", None)
            return
        if (result := self._recorder.recall("result")) is not None:
            self._finish(result, pipeline.options)  # the server ended between the last line and the record
            return
        if self._recorder.recall("stop") and not self._recorder.recall("stop:taken"):
            self._steps.stopped_by = str(self._recorder.recall("stop"))
            self._scope.interrupt(Interruption(Kind.STOP))
        execution = Execution(pipeline, self._recorder, self._steps, self, self._scope)
        self._finish(await execution.run(self._environment), pipeline.options)

    def _say_resumed(self) -> None:
        # Recorded: three lines at every restart; the key makes each restart's lines its own.
        at = time.strftime("%a %b %d %H:%M:%S UTC %Y", time.gmtime(self._clock.now()))
        key = f"resumed:{self._recorder.size_bytes}"
        self._recorder.line(f"{key}:at", f"Resuming build at {at} after Jenkins restart")
        name = f"{self.build.job.full_name} #{self.build.number}"
        self._recorder.line(f"{key}:waiting", f"Waiting to resume part of {name}: Finished waiting")
        self._recorder.line(f"{key}:ready", f"Ready to run at {at}")

    def _finish(self, result: str, options: Options | None) -> None:
        self._recorder.remember("result", result)
        self._recorder.line("finished", f"Finished: {result}")
        self._finish_record(result, options)

    def _finish_record(self, result: str, options: Options | None) -> None:
        self.build.result = result
        self.build.duration_seconds = self._clock.now() - self.build.started_at
        self._recorder.close()
        self._ended(self, options)
        if not self.build.is_deleted:  # else a new job of that name may have a build of that number
            (self.build.directory / _JOURNAL_NAME).unlink(missing_ok=True)


def _report(task: "asyncio.Task[None]") -> None:
    """A mistake in this Jenkins must not pass for a build that hangs."""
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler({"message": "a build's run broke", "exception": error, "task": task})
