"""A running build from its first log line to `Finished:`; it can be stopped, and resumed after a restart."""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from jenkins_emulator.builds import Build, cause_text
from jenkins_emulator.clock import Clock
from jenkins_emulator.declarative import compile_pipeline
from jenkins_emulator.environment import node_environment
from jenkins_emulator.execution import Execution
from jenkins_emulator.executors import Executors
from jenkins_emulator.generations import Generation
from jenkins_emulator.groovy_strings import ScriptError
from jenkins_emulator.pipeline import Options
from jenkins_emulator.recorder import Recorder
from jenkins_emulator.scopes import Interruption, Kind, Scope
from jenkins_emulator.shells import Shells
from jenkins_emulator.step_end import AgentLoss
from jenkins_emulator.steps import Steps

JOURNAL_NAME = "journal.jsonl"


class Run:
    """Runs one build as a task; once the result is recorded, `ended` is called with the options of its script."""

    def __init__(
        self,
        build: Build,
        *,
        environment: Mapping[str, str],
        executors: Executors,
        shells: Shells,
        clock: Clock,
        generation: Generation,
        ended: Callable[["Run", Options | None], None],
    ) -> None:
        """`environment` is the base for every `sh` of the build."""
        self.build = build
        self._environment = environment
        self._executors = executors
        self._shells = shells
        self._clock = clock
        self._generation = generation
        self._ended = ended
        self._scope = Scope()
        self._recorder = Recorder(build.directory)
        self._steps = Steps(self._recorder, shells, clock, generation)
        self._is_agent_lost = False
        self._finish_line: asyncio.TimerHandle | None = None
        self.is_over = asyncio.Event()
        self._held: tuple[int, Path] | None = None
        build.recorder = self._recorder
        self._task = asyncio.create_task(self._run_guarded())
        self._task.add_done_callback(_report)

    @property
    def is_finishing(self) -> bool:
        """Whether the build has its result, but not yet the last line of its log."""
        return self._finish_line is not None

    def stop(self, user: str | None) -> None:
        """Interrupt the running steps: TERM to their processes; a script may ignore it for 20 seconds."""
        self._steps.stopped_by = str(self._recorder.remember("stop", user or "anonymous"))
        self._scope.interrupt(Interruption(Kind.STOP))

    def term(self, user: str | None) -> None:
        """End the running steps but not their processes; the pipeline's post conditions still run."""
        self._steps.stopped_by = str(self._recorder.remember("stop", user or "anonymous"))
        self._scope.interrupt(Interruption(Kind.TERM))

    async def kill(self) -> None:
        """End the build at once: no further step, no post, no signal; its executor remains occupied."""
        await self._cancel()
        if self.build.is_building:
            if self._held is not None:
                self._executors.abandon(*self._held)
            self._recorder.line("killed", "Hard kill!")
            self._finish("ABORTED", None)

    def lose_agent(self, loss: AgentLoss) -> None:
        """Lose the agent: the build is aborted after some time, its processes continue."""
        self._is_agent_lost = True
        self._steps.agent_loss = loss
        self._scope.interrupt(Interruption(Kind.LOST, "lost"))

    async def close(self) -> None:
        """Detach from the build so that it can be resumed; its processes continue."""
        await self._cancel()
        if self._finish_line is not None:
            self._finish_line.cancel()
            self._say_finished()
        elif self.build.is_building and self._recorder.is_open and self._generation.prints_pause:
            self._recorder.line(f"pausing:{self._recorder.size_bytes}", "Pausing (shutting down)")

    async def _cancel(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def acquire(self, label: str | None, scope: Scope) -> Mapping[str, str]:
        """See execution.Agent."""
        held = self._recorder.recall("workspace")
        if held is None:
            self._held = await self._executors.acquire(self.build, label, scope, self._recorder)
            self._recorder.remember("workspace", str(self._held[1]))
        elif self._held is None:
            self._held = (self._executors.reclaim(self.build, Path(held)), Path(held))
        slot, workspace = self._held
        return node_environment(workspace, slot, self._node_cookie())

    async def release(self) -> None:
        """See execution.Agent."""
        if not self._is_agent_lost:
            await self._shells.end_node(self._node_cookie())
        if self._held is not None:
            held, self._held = self._held, None
            self._executors.release(*held)

    def _node_cookie(self) -> str:
        return str(self._recorder.remember("node-cookie", str(uuid.uuid4())))

    async def _run_guarded(self) -> None:
        try:
            await self._run()
        except OSError as error:  # no disk space or no shell: the build cannot run, and its log says why
            self._recorder.line("broken", f"ERROR: {error}")
            self._finish("FAILURE", None)

    async def _run(self) -> None:
        if self._recorder.is_resumed and self._recorder.recall("result") is None:
            self._say_resumed()
        for index, user in enumerate(self.build.causes):
            self._recorder.line(f"cause:{index}", cause_text(user), linked=user or "anonymous")
        if self._generation.prints_durability:
            self._recorder.line("durability", "Running in Durability level: MAX_SURVIVABILITY")
        script = str(self._recorder.remember("script", self.build.job.definition.script))
        try:
            pipeline = compile_pipeline(script)
        except ScriptError as error:
            self._recorder.line("startup-failed", error.console(script).removesuffix("\n"))
            self._finish("FAILURE", None)
            return
        if (result := self._recorder.recall("result")) is not None:
            self._finish(result, pipeline.options)  # the server ended before the build itself had the result
            return
        if self._recorder.recall("stop") and not self._recorder.recall("stop:taken"):
            self._steps.stopped_by = str(self._recorder.recall("stop"))
            self._scope.interrupt(Interruption(Kind.STOP))
        execution = Execution(pipeline, self._recorder, self._steps, self, self._scope, generation=self._generation)
        self._finish(await execution.run(self._environment), pipeline.options)

    def _say_resumed(self) -> None:
        # Recorded: three lines at every restart; the key distinguishes the restarts.
        at = time.strftime("%a %b %d %H:%M:%S UTC %Y", time.gmtime(self._clock.now()))
        key = f"resumed:{self._recorder.size_bytes}"
        self._recorder.line(f"{key}:at", f"Resuming build at {at} after Jenkins restart")
        name = f"{self.build.job.full_name} #{self.build.number}"
        if self._generation.prints_resume_wait:
            self._recorder.line(f"{key}:waiting", f"Waiting to resume part of {name}: Finished waiting")
        self._recorder.line(f"{key}:ready", f"Ready to run at {at}")

    def _finish(self, result: str, options: Options | None) -> None:
        self._recorder.remember("result", result)
        if self._generation.finish_line_seconds > 0:
            loop = asyncio.get_running_loop()
            self._finish_line = loop.call_later(self._generation.finish_line_seconds, self._say_finished)
        else:
            self._recorder.line("finished", f"Finished: {result}")
        self._record_result(result, options)

    def _record_result(self, result: str, options: Options | None) -> None:
        self.build.result = result
        self.build.duration_seconds = self._clock.now() - self.build.started_at
        self._ended(self, options)
        self.is_over.set()
        # Only after the result is on disk: without the journal the build would run again.
        if self._finish_line is None:
            self._say_finished()

    def _say_finished(self) -> None:
        self._finish_line = None
        say_finished(self.build, self._recorder)


def say_finished(build: Build, recorder: Recorder) -> None:
    """Write the last line of a build that has its result; nothing is recorded after it."""
    recorder.line("finished", f"Finished: {build.result}")
    recorder.close()
    if not build.is_deleted:  # otherwise a new job of that name may have a build with that number
        (build.directory / JOURNAL_NAME).unlink(missing_ok=True)


def finish_log(build: Build) -> None:
    """Write the last line of a build whose server ended between its result and that line."""
    if build.result is not None and (build.directory / JOURNAL_NAME).exists():
        say_finished(build, Recorder(build.directory))


def _report(task: "asyncio.Task[None]") -> None:
    """Report an error in the emulator, which would otherwise look like a build that hangs."""
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler({"message": "a build's run broke", "exception": error, "task": task})
