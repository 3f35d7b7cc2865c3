"""The end of a `sh` step: its script ends, an interruption ends the script, or the step ends without it."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from jenkins_emulator.clock import Clock
from jenkins_emulator.durations import span
from jenkins_emulator.recorder import Recorder
from jenkins_emulator.scopes import Interruption, Kind
from jenkins_emulator.shell import Shell
from jenkins_emulator.shells import Shells

# Recorded: this long after a stop, the step ends although its process is still running.
_STOP_TIMEOUT_SECONDS = 20.0


@dataclass
class AgentLoss:
    """How long Jenkins waits for a lost agent."""

    node: str = ""
    wait_seconds: float = 300.0


class StepEnd:
    """Waits for the end of a step; its scope delivers interruptions."""

    def __init__(self, shell: Shell, key: str, shells: Shells, recorder: Recorder, clock: Clock) -> None:
        """`shell` is already started; `key` is that of the step."""
        self.interruptions: list[Interruption] = []
        self._shell = shell
        self._key = key
        self._shells = shells
        self._recorder = recorder
        self._clock = clock
        self._given_up = asyncio.Event()
        self._termination: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._script = asyncio.create_task(shells.ended(shell))
        self._is_agent_lost = False

    async def wait(self) -> int | None:
        """The script's exit status; None if the step ended without it."""
        given_up = asyncio.create_task(self._given_up.wait())
        try:
            while True:
                pending = {given_up} if self._is_agent_lost else {given_up, self._script}
                await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                if self._given_up.is_set():
                    return None
                if self._script.done() and not self._script.cancelled():
                    return self._script.result()
        finally:
            tasks = [given_up, self._script, *self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def interrupt(self, interruption: Interruption, stopped_by: str, loss: AgentLoss) -> None:
        """Handle an interruption: stop and timeout end the script, term only the step; a lost agent is awaited."""
        if self._is_agent_lost and interruption.kind is not Kind.TERM:
            return  # the agent is out of reach
        self.interruptions.append(interruption)
        match interruption.kind:
            case Kind.TERM:
                self._say("terminating", "Terminating sh")
                self._begin(self._give_up_after_termination())
            case Kind.LOST:
                self._is_agent_lost = True
                self._script.cancel()
                self._begin(self._await_agent(loss))
            case Kind.STOP | Kind.TIMEOUT:
                self._say(f"signal:{len(self.interruptions)}", "Sending interrupt signal to process")
                if interruption.kind is Kind.STOP:
                    self._recorder.line("stopped-by", f"Aborted by {stopped_by}")
                if self._termination is None:
                    self._begin(self._give_up_after_timeout())
                self._termination = self._begin(self._shells.terminate(self._shell))

    async def _give_up_after_timeout(self) -> None:
        await self._clock.sleep(_STOP_TIMEOUT_SECONDS)
        self._say("did-not-stop", f"After {_STOP_TIMEOUT_SECONDS:g}s process did not stop")
        self._given_up.set()

    async def _give_up_after_termination(self) -> None:
        if self._termination is not None:
            await asyncio.gather(self._termination, return_exceptions=True)
        self._given_up.set()

    async def _await_agent(self, loss: AgentLoss) -> None:
        waits = span(loss.wait_seconds)
        self._say(
            "lost", f"{loss.node} seems to be removed or offline; will wait for {waits} for it to come back online"
        )
        await self._clock.sleep(loss.wait_seconds)
        gone = f"{loss.node} has been removed or offline for {waits}; assuming it is not coming back"
        self._say("lost-for-good", gone)
        self._given_up.set()

    def _say(self, key: str, text: str) -> None:
        self._recorder.line(f"{self._key}:{key}", text)

    def _begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task
