"""The `sh` steps of all builds: their output, their end, and the processes that a stop signals."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from jenkins_emulator.clock import Clock, ended_within
from jenkins_emulator.process_table import ProcessTable, send
from jenkins_emulator.recorder import Recorder
from jenkins_emulator.shell import Shell

# Recorded: Jenkins waits this long for the processes after TERM, and never sends KILL.
_WAIT_FOR_TERMINATED_SECONDS = 5.0
# How many times the processes that a step is about to start are searched for.
_TRIES = 50


class Shells:
    """Copies the output of all steps with one timer."""

    def __init__(self, poll_seconds: float, clock: Clock, *, whole_lines: bool) -> None:
        """`poll_seconds` is the interval of copying output; with `whole_lines` a partial line waits for its end."""
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._whole_lines = whole_lines
        self._processes = ProcessTable()
        self._running: set[Shell] = set()
        self._pump: asyncio.Task[None] | None = None
        self._lingering: dict[asyncio.Task[None], subprocess.Popen[bytes]] = {}

    def start(
        self,
        key: str,
        *,
        directory: Path,
        script: str,
        environment: Mapping[str, str],
        workspace: Path,
        recorder: Recorder,
    ) -> Shell:
        """Start the step, or attach to the process that an earlier server started for it."""
        shell = Shell(key, directory, recorder)
        shell.prepare(script)
        shell.launch(script, environment, workspace)
        self._running.add(shell)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._copy_all())
        return shell

    async def ended(self, shell: Shell) -> int:
        """Wait until the script has ended and all its output is in the log; returns the exit status."""
        try:
            status = await shell.ended(self._poll_seconds)
            while shell.copy_output(final=True):  # noqa: ASYNC110  # repeated until all is copied
                await asyncio.sleep(0)
            shell.end_output()
        finally:
            self.forget(shell)
        return status

    def forget(self, shell: Shell) -> None:
        """Stop following the step; its processes continue."""
        self._running.discard(shell)
        process = shell.close()
        if process is not None and process.poll() is None:
            waiting = asyncio.create_task(_until_gone(process.pid, self._poll_seconds))
            self._lingering[waiting] = process
            waiting.add_done_callback(self._reap)

    async def terminate(self, shell: Shell) -> None:
        """Send TERM to the step's processes and their descendants once, then wait for them for some seconds."""
        variable = f"JENKINS_SERVER_COOKIE={shell.cookie}"
        pids = await self._processes.below(variable)
        for _ in range(_TRIES):
            if pids or shell.has_ended:
                break
            await asyncio.sleep(self._poll_seconds)  # the wrapper is about to start the script
            pids = await self._processes.below(variable)
        send(pids, signal.SIGTERM)
        ends = [_until_gone(pid, self._poll_seconds) for pid in pids]
        await ended_within(self._clock, _WAIT_FOR_TERMINATED_SECONDS, ends)

    async def end_node(self, cookie: str) -> None:
        """Send TERM to every process that still has the node's cookie, at the end of `node { }`."""
        send(await self._processes.with_variable(f"JENKINS_NODE_COOKIE={cookie}"), signal.SIGTERM)

    async def close(self) -> None:
        """Stop following all steps; their processes continue."""
        tasks = [*self._lingering, *([self._pump] if self._pump is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _reap(self, waiting: "asyncio.Task[None]") -> None:
        process = self._lingering.pop(waiting)
        if waiting.cancelled() and process.poll() is None:
            process.returncode = 0  # not waited for any more: another server may attach to it
        else:
            process.wait()

    async def _copy_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._running:
            began = loop.time()
            more = False
            for shell in list(self._running):
                if shell in self._running:
                    more |= shell.copy_output(unfinished=not self._whole_lines)
            # With very many steps a round takes longer than the interval; it gets at most a third of the loop's time.
            took = loop.time() - began
            await asyncio.sleep(0 if more else max(self._poll_seconds, 2 * took))


async def _until_gone(pid: int, poll_seconds: float) -> None:
    """Wait for the end of a process, a child or not, without reaping it."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # not Linux, or a sandbox without the call
        while _exists(pid):  # noqa: ASYNC110  # there is no signal to wait for
            await asyncio.sleep(poll_seconds)
        return
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(fd, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
