"""The steps of a pipeline: each writes Jenkins' log lines once, and is not repeated after a restart."""

import asyncio
import contextlib
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jenkins_emulator.clock import Clock
from jenkins_emulator.durations import span
from jenkins_emulator.generations import Generation
from jenkins_emulator.pipeline import Echo, Error, Sh, Step, Timeout, Unstable, WithEnv
from jenkins_emulator.recorder import Recorder
from jenkins_emulator.scopes import InterruptedStepError, Interruption, Kind, Scope, StepFailedError
from jenkins_emulator.shells import Shells
from jenkins_emulator.step_end import AgentLoss, StepEnd

ENGINE = "[Pipeline]"


@dataclass(frozen=True)
class Place:
    """The context of steps: scope, environment, workspace; `key` is the position in the pipeline, unique per build."""

    key: str
    workspace: Path
    environment: Mapping[str, str]
    scope: Scope

    def at(self, name: str | int) -> "Place":
        """The context one level deeper."""
        return replace(self, key=f"{self.key}/{name}")


class Steps:
    """Runs the steps of one build."""

    def __init__(self, recorder: Recorder, shells: Shells, clock: Clock, generation: Generation) -> None:
        """`recorder` is that of the build; all builds of the server share the others."""
        self._recorder = recorder
        self._shells = shells
        self._clock = clock
        self._generation = generation
        self.stopped_by = ""
        self.agent_loss = AgentLoss()
        self.unstable = False

    def engine_line(self, key: str, text: str) -> None:
        """A `[Pipeline] …` line."""
        self._recorder.line(key, f"{ENGINE} {text}", linked=ENGINE)

    @contextlib.contextmanager
    def block(self, key: str, name: str, label: str = "") -> Iterator[None]:
        """Write the lines around a block; at a server shutdown (cancellation) it is left open, to be resumed."""
        self.engine_line(f"{key}:name", name)
        self.engine_line(f"{key}:open", f"{{ ({label})" if label else "{")
        try:
            yield
        except StepFailedError:
            self._close_block(key, name)
            raise
        else:
            self._close_block(key, name)

    def _close_block(self, key: str, name: str) -> None:
        self.engine_line(f"{key}:close", "}")
        self.engine_line(f"{key}:end", f"// {name}")

    async def run(self, steps: Sequence[Step], place: Place) -> None:
        """Run the steps one after another; raises StepFailedError."""
        for index, step in enumerate(steps):
            await self._step(step, place.at(index))

    async def _step(self, step: Step, place: Place) -> None:
        match step:
            case Sh():
                await self._sh(step, place)
            case Echo(text):
                self.engine_line(f"{place.key}:name", "echo")
                self._recorder.line(f"{place.key}:text", text)
            case Error(message):
                self.engine_line(f"{place.key}:name", "error")
                raise StepFailedError(message)
            case Unstable(message):
                self.engine_line(f"{place.key}:name", "unstable")
                self._recorder.line(f"{place.key}:text", f"WARNING: {message}")
                self.unstable = True
            case WithEnv(variables, body):
                with self.block(place.key, "withEnv"):
                    await self.run(body, replace(place, environment=_overlaid(place.environment, variables)))
            case Timeout(seconds, body):
                async with self.time_limit(seconds, place) as limited:
                    await self.run(body, limited)

    @contextlib.asynccontextmanager
    async def time_limit(self, seconds: float, place: Place) -> AsyncIterator[Place]:
        """Interrupt the steps in the body at the deadline, which does not move while the server is down."""
        self.engine_line(f"{place.key}:name", "timeout")
        self._recorder.line(f"{place.key}:limit", f"Timeout set to expire in {span(seconds)}")
        deadline = self._recorder.remember(f"{place.key}:deadline", self._clock.now() + seconds)
        scope = Scope(place.scope)
        expiry = asyncio.create_task(self._expire(deadline, place.key, scope))
        try:
            with self.block(place.key, "timeout"):
                yield replace(place, scope=scope)
        finally:
            expiry.cancel()

    async def _expire(self, deadline: float, key: str, scope: Scope) -> None:
        if self._recorder.recall(f"{key}:taken"):
            return  # a step was interrupted before a restart; another interruption would hit the post steps
        await self._clock.sleep(deadline - self._clock.now())
        self._recorder.line(f"{key}:expired", "Cancelling nested steps due to timeout")
        scope.interrupt(Interruption(Kind.TIMEOUT, key))

    async def _sh(self, step: Sh, place: Place) -> None:
        key = place.key
        self.engine_line(f"{key}:name", "sh")
        outcome = self._recorder.recall(f"{key}:outcome")
        if outcome is None:
            outcome = await self._run_script(step.script, place)
        if outcome["interrupted"]:
            if outcome["status"] is not None and self._generation.prints_aborted_exit_code:
                self._recorder.line(f"{key}:status", f"script returned exit code {outcome['status']}")
            raise InterruptedStepError(Kind(outcome["interrupted"]))
        if outcome["status"] != 0:
            raise StepFailedError(f"script returned exit code {outcome['status']}")

    async def _run_script(self, script: str, place: Place) -> dict[str, Any]:
        key = place.key
        # Random, so that a process that survived its deleted build cannot write into a later build's directory.
        name = self._recorder.remember(f"{key}:directory", f"durable-{secrets.token_hex(4)}")
        directory = place.workspace.with_name(f"{place.workspace.name}@tmp") / name
        place.workspace.mkdir(parents=True, exist_ok=True)
        shell = self._shells.start(
            key,
            directory=directory,
            script=script,
            environment=place.environment,
            workspace=place.workspace,
            recorder=self._recorder,
        )
        end = StepEnd(shell, key, self._shells, self._recorder, self._clock)
        with place.scope.waiting(lambda interruption: end.interrupt(interruption, self.stopped_by, self.agent_loss)):
            status = await end.wait()
        for interruption in end.interruptions:
            self._recorder.remember(f"{interruption.key}:taken", value=True)
        kind = end.interruptions[0].kind if end.interruptions else ""
        outcome = {"status": status, "interrupted": kind}
        self._recorder.remember(f"{key}:outcome", outcome)
        shutil.rmtree(directory, ignore_errors=True)
        return outcome


def _overlaid(environment: Mapping[str, str], variables: Sequence[str]) -> Mapping[str, str]:
    """Apply variables: `NAME=value` replaces, `PATH+ANY=value` prepends; `$` in values is literal (recorded)."""
    changed = dict(environment)
    for variable in variables:
        name, _, value = variable.partition("=")
        if "+" in name:
            name = name.partition("+")[0]
            value = f"{value}:{changed[name]}" if changed.get(name) else value
        changed[name] = value
    return changed
